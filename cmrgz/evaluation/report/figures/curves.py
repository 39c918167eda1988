"""Metrics against the share that is hidden: the headlines, hallucination and calibration."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cmrgz.evaluation.report.document import Figure, Key, Panel
from cmrgz.evaluation.report.figures.draw import panel
from cmrgz.evaluation.report.figures.styles import Style, legend, styles
from cmrgz.evaluation.report.names import HEADLINES, hidden, label, metric_column, patterns
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import Estimate, MaskRow

IDEALS = {"kappa": 1.0, "coverage-hole": 0.8, "rank-low-hole": 1.0, "rank-high-hole": 1.0}
"""What draws from the posterior have."""
LOGARITHMIC = ("kappa", "rank-low-hole", "rank-high-hole")
READ = (
    "Coloured lines are models, each with a band that is its 95 % interval over patients. Grey lines with letters are "
    "fills that need no network (solid), bounds (dashed) and controls (dotted). What is far worse than the models and "
    "bounds leaves the panel."
)


class Kind(NamedTuple):
    """A figure of a kind: what starts its ids, its title, how to read it, and the metrics that have a panel each."""

    name: str
    title: str
    caption: str
    metrics: tuple[str, ...]


QUALITY = Kind(
    "quality",
    "Quality as more is hidden",
    f"{READ} The arrow says which way is better. Where two curves cross, the order of the models changes.",
    HEADLINES,
)
INVENTED = Kind(
    "invented",
    "What is invented as more is hidden",
    f"{READ} Low is good in each panel. They count edges and structures that the truth does not have, and those that "
    "the truth has and the result lost.",
    ("fpe-hole", "fne-hole", "sfrc-hole", "topology-violations", "parts-invented", "parts-lost"),
)
CALIBRATED = Kind(
    "calibration",
    "Calibration of the samples",
    "The black line is what samples of the true posterior would have. A κ below 1 means over-confidence: the samples "
    "agree more with one another than with the truth. The last two panels say how often the truth lies outside all "
    "samples; 1 is as often as it should.",
    tuple(IDEALS),
)

Line = list[tuple[float, Estimate]]
"""Estimates by the share that is hidden."""


def figures(summary: Summary, kind: Kind) -> tuple[Figure, ...]:
    """Return a figure for each pattern, the first one open; none without numbers."""
    found = [_of_pattern(summary, kind, p, masks, i) for i, (p, masks) in enumerate(patterns(summary.masks))]
    return tuple(figure for figure in found if figure.panels)


def _of_pattern(summary: Summary, kind: Kind, pattern: str, masks: tuple[MaskRow, ...], rank: int) -> Figure:
    looks = styles(summary)
    every = {metric: {n: own for n in looks if (own := line(summary, n, metric, masks))} for metric in kind.metrics}
    panels = [_panel(summary, of, looks, metric, f"{kind.name}-{rank}") for metric, of in every.items() if of]
    keys = legend(looks, {name for lines in every.values() for name in lines})
    if kind is CALIBRATED:
        keys += (Key("samples of the true posterior", "inherit", "", "solid"),)
    return Figure(f"{kind.title}: {pattern}", kind.caption, tuple(panels), keys, folded=rank > 0)


def line(summary: Summary, method: str, metric: str, masks: Iterable[MaskRow]) -> Line:
    """Return the estimates of a method by the share hidden, as far as they are defined."""
    found = [(hidden(mask), summary.estimate(method, mask.spec, metric)) for mask in masks]
    return [(x, e) for x, e in found if e is not None and math.isfinite(e.value)]


def _panel(summary: Summary, lines: dict[str, Line], looks: dict[str, Style], metric: str, name: str) -> Panel:
    column = metric_column(summary, metric)
    title = f"{column.name} ({column.note})" if column.note else column.name
    alt = f"{label(metric)} against the share hidden, {len(lines)} methods"
    return Panel(title, panel(lambda axes: _paint(axes, lines, looks, metric), f"{name}-{metric}"), alt)


def _paint(axes: Any, lines: dict[str, Line], looks: dict[str, Style], metric: str) -> None:
    shares = sorted({x for own in lines.values() for x, _ in own})
    _draw_lines(axes, lines, looks, alone=len(shares) == 1)
    if metric in IDEALS:
        axes.axhline(IDEALS[metric], color="black", linewidth=0.9, zorder=1.5)
    if metric in LOGARITHMIC and all(e.value > 0 for own in lines.values() for _, e in own):
        _logarithmic(axes)
    else:
        _fit(axes, lines, looks, IDEALS.get(metric, math.nan))
    ticks = [x for i, x in enumerate(shares) if i == 0 or x - shares[i - 1] > 0.06]
    axes.set_xticks(ticks, [f"{round(100 * x, 1):g}" for x in ticks])
    axes.set_xlabel("hidden, %")


def _draw_lines(axes: Any, lines: Mapping[str, Line], looks: Mapping[str, Style], alone: bool) -> None:
    """Draw a line a method; where there is one share alone, models stand side by side and all else goes across."""
    models = [name for name in lines if looks[name].model]
    for name, own in lines.items():
        shift, half = 0.0, 0.1 if alone else 0.01
        if alone and name in models:
            shift, half = 0.14 * ((models.index(name) + 0.5) / len(models) - 0.5), 0.05 / len(models)
        _draw(axes, own, looks[name], shift, half)


def _draw(axes: Any, own: Line, style: Style, shift: float, half: float) -> None:
    x, estimates = [x + shift for x, _ in own], [e for _, e in own]
    if len(own) == 1:  # a band over a single point would not be seen: it becomes a short level
        x, estimates = [x[0] - half, x[0] + half], estimates * 2
    axes.plot(x, [e.value for e in estimates], **style.look)
    if style.model:
        low, high = [e.low for e in estimates], [e.high for e in estimates]
        axes.fill_between(x, low, high, color=style.colour, alpha=0.15, linewidth=0, zorder=1)


def _fit(axes: Any, lines: Mapping[str, Line], looks: Mapping[str, Style], ideal: float) -> None:
    """Show models and bounds whole: fills and controls that are far worse would press them into one line."""
    near = {name: own for name, own in lines.items() if not looks[name].far}
    values = [ideal, *(e.value for own in near.values() for _, e in own)]
    values += [v for name, own in near.items() if looks[name].model for _, e in own for v in (e.low, e.high)]
    inner = [value for value in values if math.isfinite(value)]
    low, high = axes.get_ylim()
    if any(looks[name].model for name in near) and max(inner) > min(inner):
        room = 0.6 * (max(inner) - min(inner))
        low, high = max(low, min(inner) - room), min(high, max(inner) + room)
    if all(e.value >= 0 for own in lines.values() for _, e in own):
        low = max(low, -0.04 * high)  # an axis that went far below 0 would promise values that there cannot be
    axes.set_ylim(low, high)


def _logarithmic(axes: Any) -> None:
    """Make the scale logarithmic with round ticks: evenly spaced within a decade, else 1, 2, 5 or powers of ten."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    digits = LogLocator(subs=(1.0, 2.0, 5.0) if high < 1000 * low else (1.0,))
    # LogLocator alone may find one tick or none within a decade
    axes.yaxis.set_major_locator(digits if high > 10 * low else MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter("{x:.3g}")
    axes.yaxis.set_minor_locator(NullLocator())
