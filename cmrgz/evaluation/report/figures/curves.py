"""Metrics against the share that is hidden: the headlines, hallucination and calibration."""

import math
from collections.abc import Iterable
from typing import Any

from cmrgz.evaluation.report.document import Figure, Key, Panel
from cmrgz.evaluation.report.figures.draw import panel
from cmrgz.evaluation.report.figures.styles import Style, legend, styles
from cmrgz.evaluation.report.names import HEADLINES, WORDS, direction, hidden, label, patterns
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import Estimate, MaskRow

IDEALS = {"kappa": 1.0, "coverage-hole": 0.8, "rank-low-hole": 1.0, "rank-high-hole": 1.0}
"""What samples of the true posterior have."""
# ratios: half is as far from 1 as twice
LOGARITHMIC = ("kappa", "rank-low-hole", "rank-high-hole")
CURVES = {
    "quality": ("Quality as more is hidden", HEADLINES),
    "invented": (
        "What is invented as more is hidden",
        ("fpe-hole", "fne-hole", "sfrc-hole", "topology-violations", "parts-invented", "parts-lost"),
    ),
    "calibration": ("Calibration of the samples", tuple(IDEALS)),
}
"""Figures by what is told in them: the title, and the metrics that have a panel each."""

Line = list[tuple[float, Estimate]]
"""Estimates by the share that is hidden."""


def figures(summary: Summary, kind: str) -> tuple[Figure, ...]:
    """Return a figure of a kind for each pattern, the first one open; none without numbers."""
    found = [_of_pattern(summary, kind, p, masks, i) for i, (p, masks) in enumerate(patterns(summary.masks))]
    return tuple(figure for figure in found if figure.panels)


def _of_pattern(summary: Summary, kind: str, pattern: str, masks: tuple[MaskRow, ...], rank: int) -> Figure:
    looks, (title, metrics) = styles(summary), CURVES[kind]
    every = {metric: {n: own for n in looks if (own := line(summary, n, metric, masks))} for metric in metrics}
    panels = [_panel(of, looks, metric, f"{kind}-{rank}") for metric, of in every.items() if of]
    keys = legend(looks, {name for lines in every.values() for name in lines})
    if kind == "calibration":
        keys += (Key("samples of the true posterior", "inherit", "", "solid"),)
    caption = f"{WORDS['figures']['curves']} {WORDS['figures'][kind]}"
    return Figure(f"{title}: {pattern}", caption, tuple(panels), keys, folded=rank > 0)


def line(summary: Summary, method: str, metric: str, masks: Iterable[MaskRow]) -> Line:
    """Return the estimates of a method by the share hidden, as far as they are defined."""
    found = [(hidden(mask), summary.estimate(method, mask.spec, metric)) for mask in masks]
    return [(x, e) for x, e in found if e is not None and math.isfinite(e.value)]


def _panel(lines: dict[str, Line], looks: dict[str, Style], metric: str, name: str) -> Panel:
    title = f"{label(metric)} ({note})" if (note := direction(metric)) else label(metric)
    alt = f"{label(metric)} against the share hidden, {len(lines)} methods"
    return Panel(title, panel(lambda axes: _paint(axes, lines, looks, metric), f"{name}-{metric}"), alt)


def _paint(axes: Any, lines: dict[str, Line], looks: dict[str, Style], metric: str) -> None:
    shares = sorted({x for own in lines.values() for x, _ in own})
    if metric in IDEALS:
        axes.axhline(IDEALS[metric], color="black", linewidth=0.9, zorder=1.5)
    if metric in LOGARITHMIC and all(e.value > 0 for own in lines.values() for _, e in own):
        axes.set_yscale("log")
    models = [name for name in lines if looks[name].model]
    alone = 0.14 if len(shares) == 1 else 0.0  # then models stand side by side, and all else goes across
    limits = []
    for far, room in ((False, 0.5), (True, 0.05)):
        axes.margins(y=room)
        for name in (name for name in lines if looks[name].far == far):
            place = (models.index(name) + 0.5) / len(models) - 0.5 if name in models else 0.0
            half = 0.35 / len(models) if name in models else 0.7
            _draw(axes, lines[name], looks[name], alone * place, max(alone * half, 0.01))
        limits.append(axes.get_ylim())
    if models:  # what is far worse would press them into one line
        axes.set_ylim(max(low for low, _ in limits), min(high for _, high in limits))
    _scale(axes, all(e.value >= 0 for own in lines.values() for _, e in own))
    ticks = [x for i, x in enumerate(shares) if i == 0 or x - shares[i - 1] > 0.06]
    axes.set_xticks(ticks, [f"{round(100 * x, 1):g}" for x in ticks])
    axes.set_xlabel("hidden, %")


def _draw(axes: Any, own: Line, style: Style, shift: float, half: float) -> None:
    x, estimates = [x + shift for x, _ in own], [e for _, e in own]
    if len(own) == 1:  # a band over a single point would not be seen: it becomes a short level
        x, estimates = [x[0] - half, x[0] + half], estimates * 2
    axes.plot(x, [e.value for e in estimates], **style.look)
    if style.model:
        low, high = [e.low for e in estimates], [e.high for e in estimates]
        axes.fill_between(x, low, high, color=style.colour, alpha=0.15, linewidth=0, zorder=1)


def _scale(axes: Any, positive: bool) -> None:
    """Give the scale round ticks, and no values below 0 where there can be none."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    low, high = axes.get_ylim()
    if axes.get_yscale() == "log":
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:.3g}")
        digits = LogLocator(subs=(1.0, 2.0, 5.0) if high < 1000 * low else (1.0,))
        # within a decade LogLocator finds one tick or none
        axes.yaxis.set_major_locator(digits if high > 10 * low else MaxNLocator(5, steps=[1, 2, 5, 10]))
    elif positive:
        axes.set_ylim(max(low, -0.04 * high), high)
