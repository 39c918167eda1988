"""What a summary holds. A report is made of this and of pictures alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cmrgz.evaluation.claims.evidence import Verdict
from cmrgz.evaluation.summary import rows
from cmrgz.evaluation.summary.rows import Estimate, SetRow


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
        estimates: Of every method, mask and metric.
        contrasts: Of models, for the headline metrics.
        sets: Set metrics.
        biomarkers: Agreement of volumes.
        memory: Memorisation, by distance.
        probes: Memorisation, by the error in the hole.
        claims: The claims.
        failures: Why cells failed, one line each.
    """

    settings: Mapping[str, Any]
    cells: int
    subjects: int
    frames: int
    caveats: tuple[str, ...] = ()
    gates: tuple[rows.Gate, ...] = ()
    methods: tuple[rows.MethodRow, ...] = ()
    masks: tuple[rows.MaskRow, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    contrasts: tuple[rows.ContrastRow, ...] = ()
    sets: tuple[SetRow, ...] = ()
    biomarkers: tuple[rows.BiomarkerRow, ...] = ()
    memory: tuple[rows.MemoryRow, ...] = ()
    probes: tuple[rows.ProbeRow, ...] = ()
    claims: tuple[Verdict, ...] = ()
    failures: tuple[str, ...] = ()

    # a report looks up some ten thousand numbers: without an index each would walk through all of them

    @cached_property
    def _estimates(self) -> dict[tuple[str, str, str], Estimate]:
        return {(e.method, e.mask, e.metric): e for e in self.estimates}

    @cached_property
    def _sets(self) -> dict[tuple[str, str, str, str, int], SetRow]:
        return {(r.method, r.mask, r.extractor, r.metric, r.average): r for r in self.sets}

    def estimate(self, method: str, mask: str, metric: str) -> Estimate | None:
        """Return an estimate, or None where there is none."""
        return self._estimates.get((method, mask, metric))

    def set_row(self, method: str, mask: str, extractor: str, metric: str, average: int = 1) -> SetRow | None:
        """Return a set metric, or None where there is none."""
        return self._sets.get((method, mask, extractor, metric, average))
