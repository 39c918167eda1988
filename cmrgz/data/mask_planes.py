"""Mask patterns of whole planes, frames or slices: a share of them, every n-th given, or by number.

`3-5,9` are planes 3, 4, 5 and 9, counted from 1 as messages and pictures count them.
"""

import re
from collections.abc import Iterable
from math import floor
from typing import Annotated

import numpy as np

from cmrgz.data.mask_draw import WHERE, Draw
from cmrgz.data.mask_units import Bools, lowest
from cmrgz.errors import UsageError
from cmrgz.options import Range

Every = Annotated[int, Range(2, 1000)]
Planes = Annotated[str, "numbers from 1, such as 3-5,9"]

NUMBERS = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
LAST = 32767
"""The most planes that a NIfTI-1 file has along an axis."""


def frames(
    draw: Draw, *, ratio: float | None = None, every: Every | None = None, planes: Planes | None = None
) -> Bools:
    """Whole frames, the same in all slices: a share of them, or those numbered, as `frames:1-3,7`.

    `every=n` gives the first, that n after it and so on, and hides the others.
    """
    return _along(draw, 0, ratio, every, planes)


def slices(
    draw: Draw, *, ratio: float | None = None, every: Every | None = None, planes: Planes | None = None
) -> Bools:
    """Whole slices, the same in all frames: a share of them, or those numbered, as `slices:3-5,9`.

    `every=n` gives the first, that n after it and so on, and hides the others.
    """
    return _along(draw, 1, ratio, every, planes)


def _along(
    draw: Draw, axis: int, ratio: float | None = None, every: int | None = None, planes: str | None = None
) -> Bools:
    """Hide whole frames (axis 0) or slices (axis 1)."""
    count, word = draw.shape[axis], ("frame", "slice")[axis]
    if count < 2:
        what = f"'{draw.pattern}' hides whole {word}s and gives others, but the scan has one {word}"
        raise UsageError("usage", WHERE, what, hint="use patch:0.5, or 1 to hide everything")
    if planes is not None:
        hidden = _numbered(planes, count, word)
    elif every is not None:
        hidden = np.arange(count) % every != 0
    else:
        keys = [(0, i) if axis == 0 else (i, 0) for i in range(count)]
        # A number from the stream of each plane, of which the lowest are hidden: nested in the ratio, as patches are.
        hidden = lowest(np.array([draw.stream(*key).random() for key in keys]), floor((ratio or 0.0) * count + 0.5))
    return hidden.reshape([count if i == axis else 1 for i in range(4)])


def _numbered(planes: str, count: int, word: str) -> Bools:
    """Hide planes by number.

    Raises:
        UsageError: `range` for one that the scan has not.
    """
    places = indices(planes)
    if places[-1] >= count:
        facts = f"got {places[-1] + 1}"
        raise UsageError("range", WHERE, f"the scan has the {word}s 1 .. {count}", facts, "a share is 0 .. 1")
    hidden = np.zeros(count, dtype=bool)
    hidden[places] = True
    return hidden


def numbered(words: Iterable[str]) -> list[str]:
    """Return the words that number planes; a `0` or a `1` alone is a share, and `1-1` the first plane."""
    found = [word for word in words if NUMBERS.fullmatch(word)]
    share = len(found) == 1 and found[0].isdigit() and int(found[0]) < 2
    return [] if share else found


def canonical(words: Iterable[str]) -> str:
    """Return the one text of a set of planes: runs in order, none of which touch.

    Raises:
        UsageError: `range` for the number 0, one that no file reaches, or a run that does not go upwards.
    """
    planes: set[int] = set()
    for word in words:
        first, last = ends(word)
        if not 1 <= first <= last <= LAST:
            what = f"planes are numbers 1 .. {LAST}, or runs of them that go upwards"
            raise UsageError("range", WHERE, what, f"got '{word}'", "the first plane is 1, for example 3-5,9")
        planes.update(range(first, last + 1))
    text = ",".join(f"{a}-{b}" if a < b else str(a) for a, b in _runs(sorted(planes)))
    # `1` alone would be read again as a share, so that the first plane is written as a run.
    return text if numbered(text.split(",")) else f"{text}-{text}"


def ends(word: str) -> tuple[int, int]:
    """Return the first and the last number of `3-5`, or of `9`."""
    first, _, last = word.partition("-")
    return int(first), int(last or first)


def indices(text: str) -> list[int]:
    """Return what a canonical text numbers, from 0."""
    return [i - 1 for word in text.split(",") for i in range(ends(word)[0], ends(word)[1] + 1)]


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Return (first, last) of each run in numbers that go upwards."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        start = runs.pop()[0] if runs and runs[-1][1] == number - 1 else number
        runs.append((start, number))
    return runs
