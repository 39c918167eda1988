"""Comparison of models: crops are drawn, frames of them are scored, and a report says what each number is worth.

A sweep is made of cells (one frame, one mask, one method, one seed), which are kept in a journal and done once. Beside
the models stand what bounds them: fills, copies of training frames, round trips of tokenizers, and controls. The
metrics, the statistics over patients and the report are rooms of their own; the segmenter is in `cmrgz.anatomy`.
"""
