"""What models, tokenizers, metrics and mask patterns promise, one function a promise: each raises if it is broken."""

from collections.abc import Callable
from typing import Any

from cmrgz.testing.checks import (
    blocks,
    calibration,
    device,
    drawing,
    masks,
    metrics,
    packaging,
    resources,
    runs,
    tokenizers,
    training,
)
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
        drawing.patients_may_be_told,
        drawing.progress_and_cancel,
        training.loss_is_a_function_of_its_streams,
        training.gradients_reach_every_weight,
        training.learns_one_batch,
        training.bf16_is_close,
        training.cuda_is_close,
        device.draws_the_same_on_a_device,
        device.learns_the_same_on_a_device,
        device.learns_the_same_in_pieces,
        device.steps_do_not_wait_for_the_device,
        runs.resumed_run_is_the_unbroken_one,
        runs.averaged_weights_are_drawn_from,
        resources.memory_is_linear_in_the_batch,
        resources.memory_is_given_back,
        resources.earlier_draws_leave_no_trace,
        resources.cached_equals_uncached,
        calibration.draws_are_its_posterior,
    )
}
BLOCK_CHECKS: dict[str, Callable[[Subject], None]] = {
    check.__name__: check
    for check in (
        blocks.other_frames_matter,
        blocks.no_peek_through_frames,
        blocks.no_peek_through_a_scan,
        blocks.any_lengths,
        blocks.scans_of_one_phase_or_slice,
        blocks.conditions_of_frames,
        blocks.places_are_told,
    )
}
"""Beside `MODEL_CHECKS`, of models that see phases or slices together."""
ONCE = frozenset({"spec_needs_no_torch", "options_are_described", "undeclared_options_are_refused"})
"""Those of `MODEL_CHECKS` in which no items take part."""
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
METRIC_CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        metrics.pure_and_deterministic,
        metrics.nan_where_undefined,
        metrics.direction_holds,
        metrics.precision_and_order_do_not_matter,
    )
}
MASK_CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        masks.share_is_exact,
        masks.smaller_share_is_part_of_a_larger_one,
        masks.function_of_seed_and_case,
        masks.seeds_and_cases_differ,
        masks.boolean_and_its_own,
    )
}
