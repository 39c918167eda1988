"""One training loop for tokenizers and models: options, items, state, resume."""
