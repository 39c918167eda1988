"""Masks: recipes that say which voxels of a scan are hidden.

`parse("patch:0.7").draw(shape, seed=0)` returns `known` (bool, True = given). The ratio is the fraction HIDDEN: 0 hides
nothing (reconstruction), 1 hides everything (generation). A mask is a function of (seed, case) alone, so that all
models see the same one; the streams of slices and frames are independent, and the ratio is not part of their key, so
that a smaller ratio hides a part of what a larger one hides.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, Literal, get_args, get_origin

import numpy as np
from numpy.typing import NDArray

from cmrgz import options as reader
from cmrgz.data.mask_draw import WHERE, Draw
from cmrgz.data.mask_patterns import EDGE, PATTERNS, Hold, PlanePattern, ScanPattern
from cmrgz.data.mask_planes import canonical, numbered
from cmrgz.errors import DataError, UsageError, did_you_mean
from cmrgz.options import Option

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
Value = int | str


@dataclass(frozen=True)
class Mask:
    """A recipe for hiding voxels, made by `parse`.

    Attributes:
        pattern: A name in `PATTERNS`.
        ratio: Fraction hidden, 0 .. 1, or None for a pattern that has none.
        options: Options that differ from their defaults, sorted by name.
    """

    pattern: str
    ratio: float | None
    options: tuple[tuple[str, Value], ...] = ()

    @property
    def spec(self) -> str:
        """The canonical text: `parse(mask.spec) == mask`, and equal masks have equal texts."""
        words = [] if self.ratio is None else [repr(self.ratio).removesuffix(".0")]
        words += [f"{name}={value}" for name, value in self.options if name != "planes"]
        words += [str(value) for name, value in self.options if name == "planes"]
        return f"{self.pattern}:{','.join(words)}" if words else self.pattern

    def draw(
        self,
        shape: Sequence[int],
        *,
        seed: int,
        case: str = "",
        spacing: Sequence[float] | None = None,
        centre: tuple[float, float] | None = None,
        label: NDArray[Any] | None = None,
    ) -> NDArray[np.bool_]:
        """Draw `known` for a scan.

        Args:
            shape: Shape of the scan (t, z, y, x).
            seed: The seed of the run, 0 .. 2^63 - 1.
            case: Name of the case; other cases get other masks.
            spacing: Voxel size, of which the last two entries (y, x) are used; equal when not given.
            centre: (row, col) of the heart's centre in pixels; else the centroid of `label`, else the plane's centre.
            label: Segmentation (t, z, y, x), 0 = background.

        Returns:
            Bool (t, z, y, x), True = given.

        Raises:
            UsageError: `range` for a seed, or a number of a frame or a slice, out of range; `usage` for `frames` or
                `slices` of which the scan has one.
            DataError: `dims` or `shape-mismatch` for bad shapes; `mask-empty` for a pattern without its label.
        """
        if not 0 <= seed < 2**63:
            raise UsageError("range", "option --seed", "the seed must be 0 .. 2^63-1", f"is {seed}")
        if len(shape) != 4 or min(shape) < 1:
            raise DataError("dims", WHERE, "a mask needs a scan of shape (t, z, y, x)", f"got {tuple(shape)}")
        t, z, y, x = (int(n) for n in shape)
        if label is not None and label.shape != (t, z, y, x):
            facts = f"{label.shape}, {tuple(shape)}"
            raise DataError("shape-mismatch", WHERE, "the label and the scan differ in shape", facts)
        dy, dx = (1.0, 1.0) if spacing is None else (float(s) for s in spacing[-2:])
        heart = centre if centre is not None else _label_centre((y, x), label)
        target = Draw(self.pattern, (t, z, y, x), seed, case, (dy, dx), heart, label)
        hidden = PATTERNS[self.pattern].hidden(target, self.ratio, dict(self.options))
        # In place, unless a pattern gave a broadcast view: a mask is half as large as the int16 scan.
        return np.logical_not(hidden, out=hidden if hidden.flags.writeable else None)


def parse(spec: str) -> Mask:
    """Read a mask as it is typed.

    `0.7` is `patch:0.7`; then `PATTERN:RATIO,name=value,...`. The value of a choice may stand alone (`half:top`).
    `slices:3-5,9` and `frames:1-3,7` hide these, counted from 1; `slices:1` hides all, as the share 1, `slices:1-1`
    the first. `hold=t`, `hold=z` and `hold=tz` hide the same of all frames, of all slices, or of both.

    Args:
        spec: For example `0.7`, `patch:0.5,size=8`, `box:0.3,at=heart,hold=t`, `half:bottom`, `slices:every=2`.

    Raises:
        UsageError: `usage` for an unknown pattern or word, `range` for a number out of range, `unknown-key` for an
            unknown option.
    """
    text = spec.strip()
    # A number to begin with, not alone: `0.7,size=8` is `patch:0.7,size=8`.
    name, _, rest = (f"patch:{text}" if NUMBER.match(text) else text).partition(":")
    if name not in PATTERNS:
        raise UsageError("usage", WHERE, f"unknown pattern '{name}'", hint=did_you_mean(name, PATTERNS))
    pattern, ratio, options = PATTERNS[name], None, dict[str, Value]()
    kinds = _options(pattern)
    words = [word.strip() for word in rest.split(",")] if rest else []
    if "planes" in kinds and (planes := numbered(words)):
        options["planes"] = canonical(planes)
        words = [word for word in words if word not in planes]
    for word in words:
        key, value = _read(name, word, {key: kind for key, kind in kinds.items() if key != "planes"})
        if key in options or (key == "ratio" and ratio is not None):
            raise UsageError("usage", WHERE, f"'{key}' is given twice in '{text}'")
        if isinstance(value, float):
            ratio = value
        else:
            options[key] = value
    ratio = pattern.ratio if ratio is None else ratio
    _check_ratio(name, pattern, ratio, options, "planes" in kinds)
    # Without what is as by default: equal masks have equal texts, and the journals of sweeps know cells by them.
    return Mask(name, ratio, tuple(sorted((k, v) for k, v in options.items() if v != kinds[k].default)))


def _options(pattern: PlanePattern | ScanPattern) -> dict[str, Option]:
    """Return the options of a pattern, those that its function declares and those that all patterns of planes have."""
    target = next(iter(signature(pattern.function).parameters))
    kinds = reader.schema(pattern.function, skip=(target, "ratio"))
    if isinstance(pattern, ScanPattern):
        return kinds
    return {**kinds, "size": Option("size", int, pattern.size, range=EDGE), "hold": Option("hold", Hold, None)}


def _read(name: str, word: str, kinds: Mapping[str, Option]) -> tuple[str, Value | float]:
    """Return (option, value) of one word between commas, or ("ratio", float)."""
    key, equals, value = (part.strip() for part in word.partition("="))
    if equals:
        if key not in kinds:
            raise UsageError("unknown-key", WHERE, f"'{name}' has no option '{key}'", hint=did_you_mean(key, kinds))
        return key, _value(kinds[key], value)
    if NUMBER.fullmatch(word):
        return "ratio", _ratio(word)
    choices = {choice: key for key, option in kinds.items() for choice in _choices(option)}
    if word not in choices:
        what = f"'{word}' is neither a ratio nor an option of '{name}'"
        raise UsageError("usage", WHERE, what, hint=did_you_mean(word, [*choices, *(f"{k}=" for k in kinds)]))
    return choices[word], word


def _choices(option: Option) -> tuple[str, ...]:
    return get_args(option.type) if get_origin(option.type) is Literal else ()


def _ratio(text: str) -> float:
    ratio = float(text) + 0.0  # -0.0 becomes 0.0
    if not 0 <= ratio <= 1:
        hint = f"for {text} % write {ratio / 100:g}" if 1 < ratio <= 100 else ""
        raise UsageError("range", WHERE, "the ratio is the fraction hidden, 0 .. 1", f"is {text}", hint)
    return ratio


def _value(option: Option, text: str) -> Value:
    """Read the value of an option: a choice, or a bounded integer, in the words of masks where it is wrong."""
    try:
        value = reader.parse([f"{option.name}={text}"], {option.name: option}, WHERE)[option.name]
    except UsageError as error:
        raise _wrong(option, text, error.hint) from None
    if value is None:  # a default that no text gives: the option is left out instead
        raise _wrong(option, text)
    return value


def _wrong(option: Option, text: str, hint: str = "") -> UsageError:
    if _choices(option):
        return UsageError("usage", WHERE, f"{option.name} cannot be '{text}'", hint=hint)
    return UsageError("range", WHERE, f"{option.name} must be an integer {option.range}", f"is '{text}'")


def _check_ratio(
    name: str, pattern: PlanePattern | ScanPattern, ratio: float | None, options: Mapping[str, Value], planes: bool
) -> None:
    """Refuse a pattern that is told in no way how much to hide, or in two."""
    if ratio is not None and not pattern.takes_ratio:
        raise UsageError("usage", WHERE, f"'{name}' takes no ratio", f"got {ratio:g}", f"write '{name}'")
    ways = (ratio is not None) + ("every" in options) + ("planes" in options)
    if ways > 1:
        among = "a ratio, every= or numbers, one of them" if planes else "a ratio or every=, not both"
        raise UsageError("usage", WHERE, f"'{name}' takes {among}")
    if pattern.needs_ratio and not ways:
        hint = f"for example {name}:0.5" + (f", or {name}:3-5,9, counted from 1" if planes else "")
        raise UsageError("usage", WHERE, f"'{name}' needs the fraction to hide", hint=hint)


def _label_centre(plane: tuple[int, int], label: NDArray[Any] | None) -> tuple[float, float]:
    """Return the (row, col) of the label's centroid, or of the plane's centre without a label."""
    if label is None or not label.any():
        return (plane[0] - 1) / 2, (plane[1] - 1) / 2
    # Of all frames and slices: one centre for the scan, or the masks of a moving heart would move with what they hide.
    rows, cols = np.nonzero((label != 0).any(axis=(0, 1)))
    return float(rows.mean()), float(cols.mean())
