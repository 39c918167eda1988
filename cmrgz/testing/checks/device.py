"""Checks of what a model does on another device, made without one: see `cmrgz.testing.card`."""

from cmrgz import registry
from cmrgz.testing.elsewhere import Both, drawing, learning
from cmrgz.testing.subject import Subject

MORE = {"steps": (2, 6), "head_steps": (2, 6), "moves": (1, 4), "rounds": (1, 4), "parallel": (16, 4)}
"""Options with values of which the second takes more steps."""


def draws_the_same_on_a_device(subject: Subject) -> None:
    """On a device it mixes no devices and draws what it draws on the CPU, to the bit."""
    run = drawing(subject)
    assert run.equal, f"a draw on the device is off by {run.apart:.1e}"


def learns_the_same_on_a_device(subject: Subject) -> None:
    """On a device the loss is that of the CPU, and so are the gradients, up to rounding."""
    run = learning(subject)
    assert run.apart < 1e-4, f"loss or gradients on the device are off by {run.apart:.1e}"


def steps_do_not_wait_for_the_device(subject: Subject) -> None:
    """However many steps a draw takes, the host waits for the device as often, and copies as little from it."""
    schema = registry.sample_schema(subject.spec)
    for name, (few, many) in MORE.items():
        if name in schema:
            runs = [drawing(subject, {name: value}) for value in (few, many)]
            less, more = (_waits(run) for run in runs)
            grown = dict(runs[1].costs.waits - runs[0].costs.waits)
            assert more <= less, f"with {name}={many} {more} waits, with {few} {less}: {grown}"


def _waits(run: Both) -> int:
    return run.costs.waits.total()
