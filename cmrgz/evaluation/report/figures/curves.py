"""Metrics against the share that is hidden: F2 (headlines), F3 (hallucination) and F4 (calibration)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cmrgz.evaluation.report.document import Figure, Key, Panel
from cmrgz.evaluation.report.figures.draw import panel
from cmrgz.evaluation.report.figures.legends import LINE, legend
from cmrgz.evaluation.report.figures.styles import Style, styles
from cmrgz.evaluation.report.names import HEADLINES, hidden, label, metric_column, patterns
from cmrgz.evaluation.summary.model import Estimate, MaskRow, Summary

HALLUCINATION = ("fpe-hole", "fne-hole", "sfrc-hole", "topology-violations", "parts-invented", "parts-lost")
CALIBRATION = ("kappa", "coverage-hole", "rank-low-hole", "rank-high-hole")
IDEALS = {"kappa": 1.0, "coverage-hole": 0.8, "rank-low-hole": 1.0, "rank-high-hole": 1.0}
"""What draws from the posterior have."""
DIGITS = ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
"""First digits of logarithmic ticks, from coarse to fine."""
LOGARITHMIC = ("kappa", "rank-low-hole", "rank-high-hole")
READ = (
    "Bands and bars are 95 % intervals over patients. Colours are models; grey lines are fills, dashed ones bounds, "
    "dotted ones controls; fills that are far worse leave the panel."
)


@dataclass(frozen=True)
class Kind:
    """A figure of this kind.

    Attributes:
        name: Starts its ids.
        title: What it shows.
        caption: How to read it.
        metrics: A panel each, as far as there are numbers.
    """

    name: str
    title: str
    caption: str
    metrics: tuple[str, ...]


QUALITY = Kind(
    "f2",
    "Quality as more is hidden",
    f"{READ} The arrow says which way is better; a curve that crosses another changes the order of the models.",
    HEADLINES,
)
INVENTED = Kind(
    "f3",
    "What is invented as more is hidden",
    f"{READ} Low is good in each: edges and structures that the truth does not have, or has and the result lost.",
    HALLUCINATION,
)
CALIBRATED = Kind(
    "f4",
    "Calibration of the samples",
    "The black line is what draws from the posterior have. κ below 1 is over-confident: the samples agree more with "
    "one another than with the truth. The ranks say how often the truth lies outside all samples, 1 being as often as "
    "it should.",
    CALIBRATION,
)


def figures(summary: Summary, kind: Kind) -> tuple[Figure, ...]:
    """Return a figure for each pattern, the first one open; none without numbers."""
    found = [_of_pattern(summary, kind, p, masks, i) for i, (p, masks) in enumerate(patterns(summary.masks))]
    return tuple(figure for figure in found if figure.panels)


def _of_pattern(summary: Summary, kind: Kind, pattern: str, masks: tuple[MaskRow, ...], rank: int) -> Figure:
    looks, panels, shown = styles(summary), [], set()
    for metric in kind.metrics:
        lines = {name: own for name in looks if (own := line(summary, name, metric, masks))}
        if lines:
            shown |= set(lines)
            panels.append(_panel(summary, lines, looks, metric, f"{kind.name}-{rank}"))
    ideal = (Key("draws from the posterior", LINE),) if set(kind.metrics) <= set(IDEALS) and panels else ()
    return Figure(
        f"{kind.title}: {pattern}", kind.caption, tuple(panels), legend(looks, shown) + ideal, folded=rank > 0
    )


def line(summary: Summary, method: str, metric: str, masks: Iterable[MaskRow]) -> list[tuple[float, Estimate]]:
    """Return the estimates of a method by the share hidden, as far as they are defined."""
    found = [(hidden(mask), summary.estimate(method, mask.spec, metric)) for mask in masks]
    return [(x, e) for x, e in found if e is not None and math.isfinite(e.value)]


Lines = dict[str, list[tuple[float, Estimate]]]


def _panel(summary: Summary, lines: Lines, looks: dict[str, Style], metric: str, name: str) -> Panel:
    column = metric_column(summary, metric)
    title = f"{column.name} ({column.note})" if column.note else column.name
    alt = f"{label(metric)} against the share hidden, {len(lines)} methods"
    return Panel(title, panel(lambda axes: _paint(axes, lines, looks, metric), f"{name}-{metric}"), alt)


def _paint(axes: Any, lines: Lines, looks: dict[str, Style], metric: str) -> None:
    shares = sorted({x for own in lines.values() for x, _ in own})
    if len(shares) == 1:
        _levels(axes, {method: own[0][1] for method, own in lines.items()}, looks, shares[0])
    else:
        for method, own in lines.items():
            _curve(axes, own, looks[method])
    if metric in IDEALS:
        axes.axhline(IDEALS[metric], color="black", linewidth=0.9, zorder=1.5)
    if metric in LOGARITHMIC and all(e.value > 0 for own in lines.values() for _, e in own):
        _logarithmic(axes)
    _limits(axes, lines, looks, metric)
    ticks = [x for i, x in enumerate(shares) if i == 0 or x - shares[i - 1] > 0.06]
    axes.set_xticks(ticks, [f"{round(100 * x, 1):g}" for x in ticks])
    axes.set_xlabel("hidden, %")


def _curve(axes: Any, own: Sequence[tuple[float, Estimate]], style: Style) -> None:
    """Draw a line, that of a model with its band."""
    model = style.kind == "model"
    x, estimates = [x for x, _ in own], [e for _, e in own]
    _line(axes, x, [e.value for e in estimates], style)
    if model and len(own) > 1:
        low, high = [e.low for e in estimates], [e.high for e in estimates]
        axes.fill_between(x, low, high, color=style.colour, alpha=0.15, linewidth=0, zorder=1)
    elif model:
        _bar(axes, x[0], estimates[0], style)


def _levels(axes: Any, values: Mapping[str, Estimate], looks: dict[str, Style], share: float) -> None:
    """Draw models side by side with their intervals, and all else as levels across."""
    models = [method for method in values if looks[method].kind == "model"]
    for i, method in enumerate(models):
        x = share + 0.14 * ((i + 0.5) / len(models) - 0.5)
        _line(axes, [x], [values[method].value], looks[method])
        _bar(axes, x, values[method], looks[method])
    for method in (m for m in values if m not in models):
        _line(axes, [share - 0.1, share + 0.1], [values[method].value] * 2, looks[method])


def _line(axes: Any, x: Sequence[float], y: Sequence[float], style: Style) -> None:
    size, front = (4.5, 3) if style.kind == "model" else (3.0, 2)
    look = {"marker": style.marker, "markersize": size, "color": style.colour, "linewidth": style.width}
    axes.plot(x, y, style.dash, zorder=front, **look)


def _bar(axes: Any, x: float, estimate: Estimate, style: Style) -> None:
    if math.isfinite(estimate.low) and math.isfinite(estimate.high):
        axes.plot([x, x], [estimate.low, estimate.high], "-", color=style.colour, linewidth=1.2, zorder=3)


def _limits(axes: Any, lines: Lines, looks: dict[str, Style], metric: str) -> None:
    """Show models and bounds whole; fills and controls that are far worse leave the panel."""
    if all(looks[m].kind != "model" for m in lines):
        return
    own = [v for m, points in lines.items() if looks[m].kind == "model" for _, e in points for v in (e.low, e.high)]
    own += [e.value for m, points in lines.items() if looks[m].kind in ("model", "bound") for _, e in points]
    inner = [v for v in [*own, *([IDEALS[metric]] if metric in IDEALS else [])] if math.isfinite(v)]
    low, high = axes.get_ylim()
    if axes.get_yscale() == "log" or max(inner) == min(inner):
        return
    room = 0.6 * (max(inner) - min(inner))
    axes.set_ylim(max(low, min(inner) - room), min(high, max(inner) + room))


def _logarithmic(axes: Any) -> None:
    """Make the scale logarithmic, with the coarsest round ticks of which the panel has three."""
    axes.set_yscale("log")
    ticks = round_ticks(*axes.get_ylim())
    axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.set_yticks([], minor=True)


def round_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two: by ratio as far as there are three such ones, else evenly spaced ones."""
    from matplotlib.ticker import MaxNLocator

    for digits in DIGITS:
        every = [digit * 10.0**power for power in range(-6, 7) for digit in digits]
        ticks = [tick for tick in every if low <= tick <= high]
        if len(ticks) >= 3:
            return ticks
    return [float(tick) for tick in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= tick <= high]
