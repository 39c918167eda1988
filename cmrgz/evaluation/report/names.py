"""What metrics, masks and methods are called in a report."""

import math
from collections import Counter
from collections.abc import Sequence

from cmrgz.evaluation.report.document import Column
from cmrgz.evaluation.report.numerals import share
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import MaskRow, MethodRow, MetricRow

ARROWS = {"higher": "↑", "lower": "↓", "one": "→ 1", "zero": "→ 0"}
HEADLINES = ("psnr-hole", "ssim-hole", "haarpsi-hole", "energy-hole", "kappa")
"""What methods are compared by first."""
REFERENCES = ("baseline", "bound", "control")
"""Kinds of what is no model, in the order of tables."""
KINDS = {
    "model": "Models",
    "baseline": "Baselines (no network)",
    "bound": "Bounds (see the hidden pixels)",
    "control": "Controls (see the hidden pixels)",
}
LABELS = {
    "psnr-hole": "PSNR, hole",
    "psnr-whole": "PSNR, whole frame",
    "psnr-heart": "PSNR, heart in the hole",
    "psnr-mean-hole": "PSNR of the mean, hole",
    "psnr-moving": "PSNR, moving",
    "motion-error-moving": "Motion error",
    "motion-correlation-moving": "Motion correlation",
    "temporal-spectrum-hole": "Spectrum over time",
    "block-seam": "Seam of blocks",
    "ssim-hole": "SSIM, hole",
    "haarpsi-hole": "HaarPSI, hole",
    "energy-hole": "Energy score, hole",
    "crps-hole": "CRPS, hole",
    "kappa": "Calibration κ",
    "coverage-hole": "Coverage of the central 80 %",
    "rank-low-hole": "Truth below all samples",
    "rank-high-hole": "Truth above all samples",
    "spread-skill-hole": "Spread-skill correlation",
    "fpe-hole": "False edges, hole",
    "fne-hole": "Missed edges, hole",
    "sfrc-hole": "sFRC flags, hole",
    "topology-violations": "Topology violations",
    "parts-invented": "Parts invented",
    "parts-lost": "Parts lost",
    "dice-lv": "Dice, LV",
    "dice-myo": "Dice, myocardium",
    "dice-rv": "Dice, RV",
    "seam": "Seam",
    "sharpness-high": "Sharpness, high band",
    "kid": "KID",
    "rbf-mmd": "RBF-MMD",
    "fd": "FD",
    "fd-inf": "FD∞",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "ks": "KS",
    "swd": "SWD",
    "ms-ssim-gap": "MS-SSIM gap",
}


def label(metric: str) -> str:
    """Return what a metric is called."""
    return LABELS.get(metric, metric)


def direction(better: str, unit: str = "") -> str:
    """Return a unit and which values are good, for example `dB ↑`."""
    return " ".join(part for part in (unit.replace("x1000", "×1000"), ARROWS.get(better, "")) if part)


def metric_column(summary: Summary, name: str) -> Column:
    """Return the head of a column of a metric of frames."""
    row = next((m for m in summary.metrics if m.name == name), MetricRow(name=name, better="none"))
    return Column(label(name), direction(row.better, row.unit))


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
    counts = Counter(mask.pattern for mask in masks)
    order = sorted(counts, key=lambda pattern: -counts[pattern])
    return [(p, tuple(sorted((m for m in masks if m.pattern == p), key=hidden))) for p in order]


def ordered(masks: Sequence[MaskRow]) -> list[MaskRow]:
    """Return all masks in the order of their patterns."""
    return [mask for _, own in patterns(masks) for mask in own]


def main_mask(masks: Sequence[MaskRow]) -> MaskRow | None:
    """Return the mask that is shown open: of the first pattern, the one that hides nearest to half."""
    first = [own for _, own in patterns(masks)][:1]
    return min(first[0], key=lambda mask: (abs(hidden(mask) - 0.5), mask.spec)) if first else None
