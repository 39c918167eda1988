"""What every model and tokenizer promises, one function a promise: each takes a subject and raises if it is broken."""

from collections.abc import Callable
from typing import Any

from cmrgz.testing.checks import drawing, packaging, tokenizers, training
from cmrgz.testing.subject import Subject

Check = Callable[[Any], None]

MODEL_CHECKS: dict[str, Callable[[Subject], None]] = {
    check.__name__: check
    for check in (
        packaging.spec_needs_no_torch,
        packaging.options_are_described,
        packaging.undeclared_options_are_refused,
        packaging.checkpoint_draws_the_same,
        packaging.quiet_and_tidy,
        drawing.output_is_an_item,
        drawing.seeds_repeat_and_differ,
        drawing.global_state_is_untouched,
        drawing.inputs_are_left_alone,
        drawing.batch_invariance,
        drawing.no_peek,
        drawing.known_part_matters,
        drawing.known_voxels_are_exact,
        drawing.ends_of_the_dial,
        drawing.odd_sizes,
        drawing.conditions_may_be_missing,
        drawing.progress_and_cancel,
        training.loss_is_a_function_of_its_streams,
        training.gradients_reach_every_weight,
        training.learns_one_batch,
        training.bf16_is_close,
        training.cuda_is_close,
    )
}
TOKENIZER_CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        tokenizers.nothing_hidden_reaches_a_known_position,
        tokenizers.shapes_are_those_of_the_grid,
        tokenizers.codes_are_in_range,
        tokenizers.loss_trains,
        tokenizers.checkpoint_encodes_the_same,
    )
}
