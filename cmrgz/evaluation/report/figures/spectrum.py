"""The spectrum: error in the hole against the distance of the set from real frames, a panel a ratio.

Of a posterior, the mean errs least and looks least real, and a sample errs twice as much in squares and looks real: the
trade-off of Blau and Michaeli 2018, arXiv:1711.06077. Averages of more and more samples go from the one to the other.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cmrgz.evaluation.metrics.base import AVERAGES
from cmrgz.evaluation.report.document import Figure, Key, Panel
from cmrgz.evaluation.report.figures.draw import panel
from cmrgz.evaluation.report.figures.styles import GREY, Style, legend, styles
from cmrgz.evaluation.report.names import WORDS, hidden, patterns
from cmrgz.evaluation.report.numerals import share
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import MaskRow

KID, ERROR = "kid", "mse-hole-average-{}"


class Point(NamedTuple):
    """Samples that were averaged, root mean squared error in the hole, and KID."""

    average: int
    error: float
    distance: float


def spectra(summary: Summary) -> tuple[Figure, ...]:
    """Return the figure by each extractor, the first one open; none without set metrics."""
    extractors = dict.fromkeys(row.extractor for row in summary.sets if row.metric == KID)
    found = [_of_extractor(summary, extractor, rank) for rank, extractor in enumerate(extractors)]
    return tuple(figure for figure in found if figure.panels)


def curve(summary: Summary, method: str, mask: str, extractor: str) -> list[Point]:
    """Return the points of a method, one an average, as far as they are defined."""
    points = []
    for average in AVERAGES:
        error = summary.estimate(method, mask, ERROR.format(average))
        row = summary.set_row(method, mask, extractor, KID, average)
        if error is not None and row is not None and math.isfinite(error.value) and math.isfinite(row.value):
            points.append(Point(average, math.sqrt(error.value), row.value))
    return points


def _of_extractor(summary: Summary, extractor: str, rank: int) -> Figure:
    looks, shown, floor = styles(summary), set[str](), math.nan
    panels: list[Panel] = []
    for mask in [mask for _, masks in patterns(summary.masks)[:1] for mask in masks if hidden(mask) > 0]:
        curves = {name: points for name in looks if (points := curve(summary, name, mask.spec, extractor))}
        if curves:
            floor = _floor(summary, mask.spec, extractor)
            shown |= set(curves)
            panels.append(_panel(curves, looks, floor, mask, f"spectrum-{rank}-{len(panels)}"))
    keys = legend(looks, shown) + ((Key("real against real", GREY, "▒", "none"),) if math.isfinite(floor) else ())
    title = f"Error against perception, by features of {extractor}"
    # which space a distance is measured in changes the order of models: each extractor has its own figure
    return Figure(title, WORDS["figures"]["spectrum"], tuple(panels), keys, folded=rank > 0)


def _floor(summary: Summary, mask: str, extractor: str) -> float:
    own = (r.floor for r in summary.sets if (r.mask, r.extractor, r.metric) == (mask, extractor, KID))
    return next((floor for floor in own if math.isfinite(floor)), math.nan)


def _panel(curves: Mapping[str, list[Point]], looks: dict[str, Style], floor: float, mask: MaskRow, name: str) -> Panel:
    def paint(axes: Any) -> None:
        for method, points in curves.items():
            _trace(axes, points, looks[method])
        _scales(axes, max(point.distance for points in curves.values() for point in points), floor)
        axes.set_xlabel("RMSE in the hole (intensity 0 to 1)")
        axes.set_ylabel("KID × 1000")

    share_hidden = share(hidden(mask))
    alt = f"KID against root mean squared error of {len(curves)} methods, {share_hidden} hidden"
    return Panel(f"{share_hidden} hidden", panel(paint, name, top=0.83), alt)


def _trace(axes: Any, points: Sequence[Point], style: Style) -> None:
    """Draw a curve: one sample filled, averages open and growing."""
    averages, errors, distances = zip(*points, strict=True)
    axes.plot(errors, distances, **{**style.look, "marker": ""})
    for average, x, y in zip(averages, errors, distances, strict=True):
        # steps of equal ratio look equally large
        size = (6.5 if style.model else 5.5) if average == 1 else 2.5 + 1.2 * math.log2(average)
        face = style.colour if average == 1 else "none"
        axes.plot(x, y, **{**style.look, "markersize": size, "markerfacecolor": face})


def _scales(axes: Any, top: float, floor: float) -> None:
    """Make the distance linear near the floor and logarithmic above it, and let the error in dB stand above."""
    height = abs(floor) if math.isfinite(floor) and floor else 1.0
    if math.isfinite(floor):
        axes.axhspan(-abs(floor), abs(floor), color=GREY, alpha=0.25, linewidth=0, zorder=1)
    if top > 20 * height:
        start = math.ceil(math.log10(max(height, top / 1000)))
        axes.set_yscale("symlog", linthresh=10.0**start, linscale=0.8)  # KID is unbiased and may be below 0
        axes.set_yticks([0.0, *(10.0**power for power in range(start, math.floor(math.log10(top)) + 1))])
        axes.set_yticks([], minor=True)
    axes.margins(0.08)
    axes.locator_params(axis="x", nbins=6)
    _decibels(axes)


def _decibels(axes: Any) -> None:
    """Let a second axis above say the error as PSNR; a few ticks, as they crowd where the error is small."""
    from matplotlib.ticker import MaxNLocator

    low, high = axes.get_xlim()
    axes.set_xlim(max(low, 1e-4), high)  # no error has a PSNR without end
    to_psnr, to_error = (lambda x: -20 * np.log10(np.maximum(x, 1e-4))), (lambda psnr: 10 ** (-psnr / 20))
    above = axes.secondary_xaxis("top", functions=(to_psnr, to_error))
    above.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    above.set_xlabel("PSNR of that error, dB")
