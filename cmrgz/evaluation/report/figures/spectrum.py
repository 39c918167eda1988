"""F1, the spectrum: error in the hole against the distance of the set from real frames, a panel a ratio."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cmrgz.evaluation.report.document import Figure, Key, Panel
from cmrgz.evaluation.report.figures.draw import panel
from cmrgz.evaluation.report.figures.legends import BAND, legend
from cmrgz.evaluation.report.figures.styles import GREY, Style, styles
from cmrgz.evaluation.report.names import hidden, patterns
from cmrgz.evaluation.report.numerals import share
from cmrgz.evaluation.summary.model import MaskRow, Summary

AVERAGES = (1, 2, 4, 8, 16)
KID, ERROR = "kid", "mse-hole-average-{}"
CAPTION = (
    "Left is near to the truth, down is as real as real frames: a method that is left of and below another is better "
    "in both. The filled marker is one sample; open ones, from small to large, are the averages of 2, 4, .. samples, "
    "which err less and look less real. Grey: fills, bounds and controls."
)


@dataclass(frozen=True)
class Curve:
    """The points of a method, one an average: root mean squared error in the hole and KID."""

    method: str
    averages: tuple[int, ...]
    error: tuple[float, ...]
    distance: tuple[float, ...]


def spectra(summary: Summary) -> tuple[Figure, ...]:
    """Return the figure by each extractor, the first one open; none without set metrics."""
    extractors = dict.fromkeys(row.extractor for row in summary.sets if row.metric == KID)
    found = [_of_extractor(summary, extractor, rank) for rank, extractor in enumerate(extractors)]
    return tuple(figure for figure in found if figure.panels)


def curve(summary: Summary, method: str, mask: str, extractor: str) -> Curve | None:
    """Return the curve of a method; None if no point of it is defined."""
    points = []
    for average in AVERAGES:
        error = summary.estimate(method, mask, ERROR.format(average))
        row = summary.set_row(method, mask, extractor, KID, average)
        if error is not None and row is not None and math.isfinite(error.value) and math.isfinite(row.value):
            points.append((average, math.sqrt(error.value), row.value))
    return Curve(method, *map(tuple, zip(*points, strict=True))) if points else None


def _of_extractor(summary: Summary, extractor: str, rank: int) -> Figure:
    looks, shown, floors = styles(summary), set[str](), set[float]()
    panels: list[Panel] = []
    for _, masks in patterns(summary.masks)[:1]:
        for mask in (m for m in masks if hidden(m) > 0):
            every = [curve(summary, m.name, mask.spec, extractor) for m in summary.methods]
            curves = [c for c in every if c is not None]
            if curves:
                floor = _floor(summary, mask.spec, extractor)
                shown |= {c.method for c in curves}
                floors |= {floor} - {math.nan}
                panels.append(_panel(curves, looks, floor, mask, f"f1-{rank}-{len(panels)}"))
    keys = legend(looks, shown) + ((Key("real against real", BAND),) if floors else ())
    title = f"Error against perception, by features of {extractor}"
    return Figure(title, CAPTION, tuple(panels), keys, folded=rank > 0)


def _floor(summary: Summary, mask: str, extractor: str) -> float:
    own = (r.floor for r in summary.sets if (r.mask, r.extractor, r.metric) == (mask, extractor, KID))
    return next((floor for floor in own if math.isfinite(floor)), math.nan)


def _panel(curves: Sequence[Curve], looks: dict[str, Style], floor: float, mask: MaskRow, name: str) -> Panel:
    def paint(axes: Any) -> None:
        for c in sorted(curves, key=lambda c: looks[c.method].kind == "model"):
            _trace(axes, c, looks[c.method])
        _scales(axes, curves, floor)
        axes.set_xlabel("RMSE, hole")
        axes.set_ylabel("KID × 1000")

    share_hidden = share(hidden(mask))
    alt = f"KID against root mean squared error of {len(curves)} methods, {share_hidden} hidden"
    return Panel(f"{share_hidden} hidden", panel(paint, name, top=0.83), alt)


def _trace(axes: Any, c: Curve, style: Style) -> None:
    """Draw a curve: one sample filled, averages open and growing."""
    model = style.kind == "model"
    axes.plot(c.error, c.distance, style.dash, color=style.colour, linewidth=style.width, zorder=3 if model else 2)
    for average, x, y in zip(c.averages, c.error, c.distance, strict=True):
        size = (6.5 if model else 4.5) if average == 1 else 2.5 + 1.2 * math.log2(average)
        face = style.colour if average == 1 else "none"
        axes.plot(
            x, y, style.marker, color=style.colour, markersize=size, markerfacecolor=face, zorder=4 if model else 2
        )


def _scales(axes: Any, curves: Sequence[Curve], floor: float) -> None:
    """Linear near the floor and logarithmic above it; the same error in dB stands above."""
    height = abs(floor) if math.isfinite(floor) and floor else 1.0
    if math.isfinite(floor):
        axes.axhspan(-abs(floor), abs(floor), color=GREY, alpha=0.25, linewidth=0, zorder=1)
    top = max(max(c.distance) for c in curves)
    if top > 20 * height:
        _mostly_logarithmic(axes, max(height, top / 1000), top)
    axes.margins(0.08)
    axes.locator_params(axis="x", nbins=6)
    low, high = axes.get_xlim()
    decibels = axes.twiny()
    decibels.grid(False)
    decibels.spines["top"].set_visible(True)
    decibels.set_xlim(low, high)
    ticks = _decibels(max(low, 1e-4), high)
    decibels.set_xticks([10 ** (-t / 20) for t in ticks], [f"{t:g}" for t in ticks])
    decibels.set_xlabel("PSNR of that error, dB")


def _mostly_logarithmic(axes: Any, linear: float, top: float) -> None:
    """Make the scale linear up to the power of ten above `linear`, and logarithmic from there."""
    start = math.ceil(math.log10(linear))
    powers = [10.0**i for i in range(start, math.floor(math.log10(top)) + 1)]
    axes.set_yscale("symlog", linthresh=10.0**start, linscale=0.8)
    axes.set_yticks([0.0, *powers], ["0", *map(_power, powers)])
    axes.set_yticks([], minor=True)


def _power(value: float) -> str:
    """Return a power of ten in at most four characters."""
    exponent = round(math.log10(value))
    return (
        f"{value:g}"
        if -3 < exponent < 4
        else "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    )


def _decibels(low: float, high: float) -> list[float]:
    """Return a few round numbers of dB between two errors."""
    least, most = -20 * math.log10(high), -20 * math.log10(low)
    for step in (20, 10, 5, 2, 1, 0.5, 0.2):
        ticks = [step * i for i in range(math.ceil(least / step), math.floor(most / step) + 1)]
        if len(ticks) >= 3:
            break
    apart: list[float] = []
    for tick in ticks:  # errors grow as dB fall, and so does the distance between ticks
        if not apart or 10 ** (-apart[-1] / 20) - 10 ** (-tick / 20) > 0.12 * (high - low):
            apart.append(tick)
    return apart
