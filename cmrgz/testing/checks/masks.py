"""Checks of a mask pattern: the subject is its name in `PATTERNS`."""

import inspect
import math

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.mask_patterns import MYOCARDIUM, PATTERNS, PlanePattern
from cmrgz.data.masks import Mask, parse
from cmrgz.testing.checks.outcomes import Skipped

RATIOS = (0.0, 0.01, 0.1, 0.25, 0.5, 0.7, 0.9, 1.0)
SHAPE = (6, 5, 48, 80)
CUT = (3, 2, 37, 51)
"""A shape that no patch divides."""

Bools = NDArray[np.bool_]


def _recipes(name: str) -> list[Mask]:
    """Return a pattern at each share, or as it is where it takes none."""
    return [parse(f"{name}:{ratio}") for ratio in RATIOS] if PATTERNS[name].takes_ratio else [parse(name)]


def _draw(mask: Mask, shape: tuple[int, int, int, int] = SHAPE, seed: int = 1, case: str = "a") -> Bools:
    """Return `known` for a scan with a label; it is the pattern's own business whether it looks at that."""
    return mask.draw(shape, seed=seed, case=case, label=_label(shape))


def _label(shape: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Return a ring of myocardium in every plane."""
    row, col = np.mgrid[: shape[2], : shape[3]]
    away = np.hypot(row - shape[2] / 2, col - shape[3] / 2)
    ring = np.where(away < 12, MYOCARDIUM, 0) * (away > 6)
    return np.broadcast_to(ring, shape).astype(np.uint8)


def _unit(name: str) -> int | None:
    """Return the edge in pixels of what a pattern hides as a whole, or None where that is a frame or a slice."""
    pattern = PATTERNS[name]
    size = inspect.signature(pattern.function).parameters.get("size")
    return pattern.size if isinstance(pattern, PlanePattern) else None if size is None else int(size.default)


def share_is_exact(name: str) -> None:
    """Each plane, or the scan, has the share hidden to the nearest unit; 0 hides nothing, 1 everything."""
    pattern = PATTERNS[name]
    if not pattern.takes_ratio:
        raise Skipped("takes no share")
    for mask, ratio in zip(_recipes(name), RATIOS, strict=True):
        for shape in (SHAPE, CUT):
            hidden = ~_draw(mask, shape)
            if (size := _unit(name)) is not None:
                counts = hidden.sum((2, 3))
                off = np.abs(counts - ratio * shape[2] * shape[3]).max()
                assert off <= size**2 / 2 + 1e-6, f"{mask.spec}: {counts.ravel()[0]} pixels of a plane"
            else:
                nearest = {math.floor(ratio * n + 0.5) / n for n in shape[:2]}
                assert hidden.mean() in nearest, f"{mask.spec}: {hidden.mean():.3f} of the scan"
        if ratio in (0, 1):
            assert (hidden == bool(ratio)).all(), mask.spec


def smaller_share_is_part_of_a_larger_one(name: str) -> None:
    """What a share hides, a larger one hides too."""
    if not PATTERNS[name].takes_ratio:
        raise Skipped("takes no share")
    hidden = [~_draw(mask, CUT) for mask in _recipes(name)]
    for less, more, ratio in zip(hidden, hidden[1:], RATIOS, strict=False):
        assert (more | ~less).all(), f"{ratio} is no part of the next"


def function_of_seed_and_case(name: str) -> None:
    """The same seed and case give the same mask, whatever was drawn in between; no global random number is used."""
    np.random.rand()  # noqa: NPY002  # else a seed that was set before would look untouched
    state = str(np.random.get_state())  # noqa: NPY002
    for mask in _recipes(name):
        first = _draw(mask)
        _draw(mask, CUT, seed=9, case="z")
        assert np.array_equal(_draw(mask), first), f"{mask.spec} was drawn anew"
        if isinstance(PATTERNS[name], PlanePattern):
            few = _draw(mask, (2, 1, *SHAPE[2:]))
            assert np.array_equal(few, first[:2, :1]), "a plane depends on how many others there are"
    assert str(np.random.get_state()) == state, "global random numbers"  # noqa: NPY002


def seeds_and_cases_differ(name: str) -> None:
    """Other seeds and other cases have other masks; or the pattern is one and the same for all."""
    mask = _recipes(name)[len(_recipes(name)) // 2]
    first = _draw(mask)
    seeds = [not np.array_equal(_draw(mask, seed=seed), first) for seed in range(2, 8)]
    names = [not np.array_equal(_draw(mask, case=case), first) for case in "bcdefg"]
    assert any(seeds) == any(names), f"depends on the {'seed' if any(seeds) else 'case'} alone"
    assert not any(seeds) or sum(seeds + names) >= 10, "hardly differs"


def boolean_and_its_own(name: str) -> None:
    """Bool of the scan's shape, True = given, in memory of its own; the label is left as it was."""
    for mask in _recipes(name):
        label = _label(SHAPE)
        known = mask.draw(SHAPE, seed=1, case="a", label=label)
        assert isinstance(known, np.ndarray) and known.dtype == np.bool_, f"{type(known).__name__}"
        assert known.shape == SHAPE, f"{known.shape}"
        copy = known.copy()
        known[:] = ~known
        assert np.array_equal(mask.draw(SHAPE, seed=1, case="a", label=label), copy), "two draws share memory"
        assert np.array_equal(label, _label(SHAPE)), "the label was changed"
