"""Checks of what a model does on another device, made without one: see `cmrgz.testing.card`."""

import warnings

from cmrgz import registry
from cmrgz.errors import CmrgzWarning
from cmrgz.testing.checks.outcomes import Skipped
from cmrgz.testing.elsewhere import ITEMS, drawing, going_on, learning
from cmrgz.testing.subject import Subject

MORE = {"steps": (2, 4), "head_steps": (2, 4), "moves": (1, 2), "rounds": (1, 2), "parallel": (32, 8)}
"""Options with values of which the second takes more steps."""


def draws_the_same_on_a_device(subject: Subject) -> None:
    """On a device it mixes no devices and draws what it draws on the CPU, to the bit."""
    run = drawing(subject)
    assert run.equal, f"a draw on the device is off by {run.apart:.1e}"


def learns_the_same_on_a_device(subject: Subject) -> None:
    """On a device the loss is that of the CPU, and so are the gradients, up to rounding."""
    run = learning(subject)
    assert run.apart < 1e-4, f"loss or gradients on the device are off by {run.apart:.1e}"


def learns_the_same_in_pieces(subject: Subject) -> None:
    """On a device, training steps whose pieces are recorded have the loss and the gradients of others, to the bit."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", CmrgzWarning)
        run = going_on(subject.model, subject.items(ITEMS))
    refused = [str(warning.message) for warning in told if issubclass(warning.category, CmrgzWarning)]
    assert not refused, refused[0]
    assert run.equal, f"loss or gradients of a recorded step are off by {run.apart:.1e}: see `cmrgz.pieces.piece`"


def steps_do_not_wait_for_the_device(subject: Subject) -> None:
    """However many steps a draw takes, the host waits for the device as often, and copies as little from it."""
    schema = registry.sample_schema(subject.spec)
    named = [name for name in MORE if name in schema]
    if not named:
        raise Skipped("it has no option by which a draw takes more steps")
    few, many = (drawing(subject, {name: MORE[name][i] for name in named}).costs.waits for i in (0, 1))
    facts = f"{many.total()} waits in many steps, {few.total()} in few"
    assert many.total() <= few.total(), f"{facts}: {', '.join(many - few)}"
