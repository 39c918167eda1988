"""What metrics, masks and methods are called in a report."""

import math
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import yaml

from cmrgz.evaluation.report.document import Column
from cmrgz.evaluation.report.numerals import share
from cmrgz.evaluation.summary.derived import meaning
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import MaskRow, MethodRow

WORDS: dict[str, Any] = yaml.safe_load(files(__package__).joinpath("words.yaml").read_text("utf-8"))
"""What the report says, apart from names and numbers."""
KINDS: dict[str, str] = WORDS["kinds"]
"""Headings of the kinds of methods, in the order of tables."""
REFERENCES = tuple(kind for kind in KINDS if kind != "model")
HEADLINES = ("psnr-hole", "ssim-hole", "haarpsi-hole", "energy-hole", "kappa")
"""What methods are compared by first."""


def notes(*names: str) -> str:
    """Return some of the notes that say how to read something, one after another."""
    return " ".join(WORDS["notes"][name] for name in names)


def label(metric: str) -> str:
    """Return what a metric is called."""
    found: str = WORDS["metrics"].get(metric, metric)
    return found


def direction(metric: str) -> str:
    """Return the unit of a metric and which values are good, for example `dB ↑`."""
    better, unit = meaning(metric)
    # metrics are named in ASCII, which terminals and CSV need; a page need not
    return " ".join(part for part in (unit.replace("x1000", "×1000"), WORDS["arrows"].get(better, "")) if part)


def column(metric: str, title: str = "") -> Column:
    """Return the head of a column of a metric of frames or sets."""
    return Column(title or label(metric), direction(metric))


def of_kind(summary: Summary, *kinds: str) -> tuple[MethodRow, ...]:
    """Return the methods of some kinds, kind by kind."""
    return tuple(method for kind in kinds for method in summary.methods if method.kind == kind)


def hidden(mask: MaskRow) -> float:
    """Return the share that a mask hides: what was asked for, or what came out where nothing was."""
    return mask.hidden if math.isnan(mask.ratio) else mask.ratio


def mask_label(mask: MaskRow) -> str:
    """Return what a mask is called: its pattern and the share that it hides."""
    return f"{mask.pattern}, {share(hidden(mask))} hidden"


def patterns(masks: Sequence[MaskRow]) -> list[tuple[str, tuple[MaskRow, ...]]]:
    """Return the masks of each pattern by what they hide; the pattern with most masks first, then as they come."""
    # the pattern with most ratios has the longest curves and says most: it comes first and open
    counts = Counter(mask.pattern for mask in masks)
    order = sorted(counts, key=lambda pattern: -counts[pattern])
    return [(p, tuple(sorted((m for m in masks if m.pattern == p), key=hidden))) for p in order]


def ordered(masks: Sequence[MaskRow]) -> list[MaskRow]:
    """Return all masks in the order of their patterns."""
    return [mask for _, own in patterns(masks) for mask in own]


def main_mask(masks: Sequence[MaskRow]) -> MaskRow | None:
    """Return the mask that is shown open: of the first pattern, the one that hides nearest to half."""
    # half is the middle of the way from reconstruction to generation
    # Ties go by the text, so that a run opens the same table each time
    first = [own for _, own in patterns(masks)][:1]
    return min(first[0], key=lambda mask: (abs(hidden(mask) - 0.5), mask.spec)) if first else None
