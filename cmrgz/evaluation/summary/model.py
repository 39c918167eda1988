"""What a summary holds. A report is made of this and of pictures alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cmrgz.evaluation.summary.rows import (
    BiomarkerRow,
    ClaimRow,
    ContrastRow,
    Estimate,
    Gate,
    MaskRow,
    MemoryRow,
    MethodRow,
    MetricRow,
    ProbeRow,
    SetRow,
)

__all__ = [
    "BiomarkerRow",
    "ClaimRow",
    "ContrastRow",
    "Estimate",
    "Gate",
    "MaskRow",
    "MemoryRow",
    "MethodRow",
    "MetricRow",
    "ProbeRow",
    "SetRow",
    "Summary",
]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All numbers of a report.

    Attributes:
        settings: What `sweep.json` says.
        cells: Cells that are done.
        subjects: Patients that were evaluated on.
        frames: Frames.
        caveats: Sentences that a reader must see first.
        gates: What must hold.
        methods: In the order of tables.
        masks: By pattern and ratio.
        metrics: Metrics of frames and their ratios.
        estimates: Of every method, mask and metric.
        contrasts: Of models, for the headline metrics.
        sets: Set metrics.
        biomarkers: Agreement of volumes.
        memory: Memorisation, by distance.
        probes: Memorisation, by the error in the hole.
        claims: The claims.
        failures: Why units failed, one line each.
    """

    settings: Mapping[str, Any]
    cells: int
    subjects: int
    frames: int
    caveats: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()
    methods: tuple[MethodRow, ...] = ()
    masks: tuple[MaskRow, ...] = ()
    metrics: tuple[MetricRow, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    contrasts: tuple[ContrastRow, ...] = ()
    sets: tuple[SetRow, ...] = ()
    biomarkers: tuple[BiomarkerRow, ...] = ()
    memory: tuple[MemoryRow, ...] = ()
    probes: tuple[ProbeRow, ...] = ()
    claims: tuple[ClaimRow, ...] = ()
    failures: tuple[str, ...] = ()
    _lookup: dict[tuple[str, str, str], Estimate] = field(init=False, default_factory=dict, repr=False, compare=False)
    _sets: dict[tuple[str, ...], SetRow] = field(init=False, default_factory=dict, repr=False, compare=False)

    def estimate(self, method: str, mask: str, metric: str) -> Estimate | None:
        """Return an estimate, or None where there is none."""
        if not self._lookup:
            self._lookup.update({(e.method, e.mask, e.metric): e for e in self.estimates})
        return self._lookup.get((method, mask, metric))

    def set_row(self, method: str, mask: str, extractor: str, metric: str, average: int = 1) -> SetRow | None:
        """Return a set metric, or None where there is none."""
        if not self._sets:
            self._sets.update({(r.method, r.mask, r.extractor, r.metric, str(r.average)): r for r in self.sets})
        return self._sets.get((method, mask, extractor, metric, str(average)))
