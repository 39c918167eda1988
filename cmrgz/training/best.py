"""The best weights of a run by its validation loss, and when to stop because they are no longer bettered."""

from collections.abc import Callable, Mapping
from typing import Any

from cmrgz import records
from cmrgz.errors import DataError
from cmrgz.training.options import TrainOptions

FIELDS: records.Checks = {
    "step": records.natural,
    "loss": records.number,
    "since": records.whole,
    "figures": records.kind(dict),
}
"""What is known of the best weights: their step and loss, how many validations came since, and its figures."""


def is_best(value: Any) -> bool:
    """Whether a value in JSON's types says of a run what its best weights are, or that there are none."""
    if value == {}:
        return True
    whole = isinstance(value, dict) and value.keys() == FIELDS.keys()
    return whole and all(passes(value[name]) for name, passes in FIELDS.items())


def is_wanted(options: TrainOptions) -> bool:
    """Whether a run keeps its best weights."""
    return options.patience > 0 or options.keep == "best"


def require_validation(options: TrainOptions, patients: int) -> None:
    """Refuse to look for the best weights without patients to tell them by.

    Raises:
        DataError: `empty-dataset`.
    """
    if is_wanted(options) and not patients:
        what = "no patient is held out, by whom to tell the best weights"
        raise DataError("empty-dataset", "validation data", what, hint="name some with --validation")


def judged(best: Mapping[str, Any], figures: Mapping[str, Any], step: int) -> dict[str, Any]:
    """Return what is known of the best weights after a validation with these figures; of equal ones the first stay."""
    loss = figures["validation"]["loss"]
    if not best or loss < best["loss"]:
        return {"step": step, "loss": loss, "since": 0, "figures": dict(figures)}
    return {**best, "since": best["since"] + 1}


def told(figures: Mapping[str, Any], best: Mapping[str, Any], keep: str) -> dict[str, Any]:
    """Return what the result of a run says of its validation: the last one, or that of the best weights."""
    if keep != "best" or not best:
        return dict(figures)
    return {**figures, **best["figures"]}


def note(state: Any, options: TrainOptions, keep_best: Callable[[Any], None]) -> bool:
    """Judge a state that was just validated, keep it where it is the best so far, and return whether to stop here."""
    if not is_wanted(options):
        return False
    state.best = judged(state.best, state.figures, state.step)
    more: dict[str, Any] = {"best": {"loss": state.best["loss"], "step": state.best["step"]}}
    if 0 < options.patience <= state.best["since"]:
        more["stopped"] = state.step
    state.figures = dict(sorted({**state.figures, **more}.items()))  # in the order in which a state gives them back
    if state.best["step"] == state.step:
        # A copy: the average goes on moving with the next step.
        state.best_average = {name: value.clone() for name, value in state.average.items()}
        keep_best(state)
    return "stopped" in more
