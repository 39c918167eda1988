"""Checks of a metric of one frame: the subject is the `Metric`; frames show a heart of discs, drawn well and badly."""

import random
from dataclasses import fields, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from cmrgz.evaluation.metrics.base import Cine, Floats, Labels, Metric, Sampled
from cmrgz.testing.checks.outcomes import Skipped

SIZE = 96
FINE = 0.001
"""Noise of what is drawn well: no edge or label of the truth moves."""
PHASES, NOW = 6, 1
"""Of the cine, and the one that is scored."""
REGIONS = ("-hole", "-seam", "-edge", "-grid", "-inside")
"""In a metric's name: regions that are empty where nothing is hidden."""


def heart(column: float = 54) -> tuple[Floats, Labels]:
    """Return a picture (96, 96) in [0, 1] of a left ventricle in its wall and a right one beside it, and its labels."""
    row, col = np.mgrid[:SIZE, :SIZE]
    to_lv, to_rv = np.hypot(row - 46, col - column), np.hypot(row - 46, col - column + 24)
    wall = np.where(to_lv < 20, 2, np.where(to_rv < 14, 1, 0))
    label = np.where(to_lv < 13, 3, wall).astype(np.uint8)
    texture = gaussian_filter(np.random.default_rng(4).normal(0, 0.3, (SIZE, SIZE)), 1.5)
    return np.clip(np.array([0.2, 0.7, 0.3, 0.8])[label] + texture, 0, 1), label


def frame(metric: Metric, how: str = "well") -> Sampled:
    """Return a frame with the samples that a metric needs, drawn `well`, `nearly`, or as `noise`, `nothing` or `other`.

    Drawn well and nearly, the truth is like one more sample, and spreads differ from place to place.
    """
    k, rng = max(4, metric.least), np.random.default_rng(1)
    shown = [heart(54 + 2 * np.sin(2 * np.pi * (t - NOW) / PHASES)) for t in range(PHASES)]
    truth, label = np.stack([picture for picture, _ in shown]), shown[NOW][1]
    known = np.ones(truth.shape, dtype=bool)
    known[:, 24:72, 30:78] = False
    spread = (0.05 if how == "nearly" else FINE) * np.linspace(0.2, 2, SIZE)
    miss, *noise = rng.normal(0, 1, (k + 1, *truth.shape)) * spread
    drawn, segment = np.clip(truth + miss + np.array(noise), 0, 1), np.repeat(label[None], k, 0)
    if how == "noise":
        drawn, segment = rng.random(drawn.shape), rng.integers(0, 4, segment.shape).astype(np.uint8)
    elif how == "nothing":
        drawn, segment = np.zeros_like(drawn), np.zeros_like(segment)
    elif how == "other":
        other, other_label = heart(40)
        drawn, segment = np.broadcast_to(other, drawn.shape).copy(), np.repeat(other_label[None], k, 0)
    blocks = tuple(t // 2 if "within" in metric.name else t for t in range(PHASES))
    cine = Cine(truth, known, np.where(known, truth, drawn), NOW, True, blocks)
    now = truth[NOW], known[NOW], drawn[:, NOW]
    return Sampled(*now, 1.4, label, label, segment, moving=~known[NOW], cine=cine)


def pure_and_deterministic(metric: Metric) -> None:
    """The same frame gives the same number; no array of it is written to, and no global random number is used."""
    state = random.getstate(), str(np.random.get_state())  # noqa: NPY002
    given = frame(metric, "nearly")
    for part in _arrays(given):
        part.setflags(write=False)
    before = [part.copy() for part in _arrays(given)]
    first = metric.of(given)
    again = metric.of(frame(metric, "nearly"))
    assert isinstance(first, float | np.floating) and first == again, f"{first}, then {again}"
    assert all(np.array_equal(a, b) for a, b in zip(before, _arrays(given), strict=True)), "the frame was changed"
    assert state == (random.getstate(), str(np.random.get_state())), "global random numbers"  # noqa: NPY002


def _arrays(frame: Sampled) -> list[Floats]:
    values = (getattr(frame, field.name) for field in fields(frame))
    return [value for value in values if isinstance(value, np.ndarray)]


def nan_where_undefined(metric: Metric) -> None:
    """A float for any frame, NaN and no other oddity where it is not defined: nothing hidden, no heart, all even."""
    whole = frame(metric, "nearly")
    nothing = replace(whole, known=np.ones_like(whole.known))
    even = replace(whole, truth=np.zeros_like(whole.truth), drawn=np.zeros_like(whole.drawn))
    odd = {
        "nothing hidden": nothing,
        "nothing known": replace(whole, known=np.zeros_like(whole.known)),
        "no heart": replace(whole, label=None, truth_segment=None, segments=None),
        "an even frame": even,
        "an even frame, nothing hidden": replace(even, known=np.ones_like(whole.known)),
    }
    for name, case in odd.items():
        with np.errstate(divide="raise", invalid="raise"):
            value = metric.of(case)
        assert isinstance(value, float | np.floating) and not np.isinf(value), f"{name}: {value!r}"
    if any(region in metric.name for region in REGIONS):
        assert np.isnan(metric.of(nothing)), f"nothing is hidden, and it says {metric.of(nothing)}"


def direction_holds(metric: Metric) -> None:
    """What is drawn like the truth is not worse than noise, nothing or another heart, and better than one of them."""
    if metric.better == "none":
        raise Skipped("a description")
    good = _badness(metric, metric.of(frame(metric)))
    others = {how: _badness(metric, metric.of(frame(metric, how))) for how in ("noise", "nothing", "other")}
    bad = {how: value for how, value in others.items() if not np.isnan(value)}
    assert not np.isnan(good) and bad, "is not defined for an ordinary frame"
    if all(value == good for value in bad.values()):
        raise Skipped("makes no difference here")
    worse = [how for how, value in bad.items() if value < good]
    assert not worse, f"{metric.better} is better, and {worse[0]} is better than the truth"


def _badness(metric: Metric, value: float) -> float:
    """Return a number that is low where the metric says good."""
    signs = {"higher": -value, "lower": value, "one": abs(value - 1), "zero": abs(value)}
    return float(signs[metric.better])


def precision_and_order_do_not_matter(metric: Metric) -> None:
    """In single precision, and with the samples in another order, it is the same up to rounding."""
    given = frame(metric, "nearly")
    single = replace(given, truth=given.truth.astype(np.float32), drawn=given.drawn.astype(np.float32))
    want, got = metric.of(given), metric.of(single)
    assert np.isclose(want, got, rtol=1e-2, atol=1e-4, equal_nan=True), f"{want} of float64, {got} of float32"
    if "average" not in metric.name:  # of the first few
        segments = None if given.segments is None else given.segments[::-1]
        cine = None if given.cine is None else replace(given.cine, samples=given.cine.samples[::-1])
        turned = metric.of(replace(given, drawn=given.drawn[::-1], segments=segments, cine=cine))
        assert np.isclose(want, turned, rtol=1e-6, atol=1e-9, equal_nan=True), f"{want}, {turned} in another order"
