"""Build the summary of a run."""

from cmrgz.durable import exists
from cmrgz.evaluation.extractors import MOTION
from cmrgz.evaluation.statistics.subjects import caveats
from cmrgz.evaluation.store import SETTINGS, read_settings
from cmrgz.evaluation.summary.anatomy import agreements, volumes
from cmrgz.evaluation.summary.derived import with_hallucination
from cmrgz.evaluation.summary.estimates import contrasts, estimates, shown
from cmrgz.evaluation.summary.evidence import claims
from cmrgz.evaluation.summary.gates import gates
from cmrgz.evaluation.summary.memory import memory_rows, probe_rows
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.motion import motion
from cmrgz.evaluation.summary.rows import MaskRow, MethodRow
from cmrgz.evaluation.summary.sets import all_reals, far_apart, set_rows
from cmrgz.evaluation.table import Table


def summarise(table: Table) -> Summary:
    """Return all numbers of a run, from its files alone.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    table, reals = with_hallucination(table), all_reals(table)
    sets = set_rows(table, reals)
    # motion is of pairs of frames: what frames look like, and whether they were copied, it does not say
    looks = {name: own for name, own in reals.items() if name != MOTION}
    return Summary(
        # the journal alone holds all numbers: a run that lost its settings can still be reported
        settings=dict(read_settings(table.root)) if exists(table.root / SETTINGS) else {},
        cells=len(table),
        subjects=len(table.subjects),
        frames=len(set(table.columns["frame"][table.rows("real")].tolist())),
        caveats=(*caveats(len(table.subjects)), *_single(table), *far_apart(sets)),
        gates=gates(table),
        methods=tuple(MethodRow(**(vars(table.methods[name]) | table.cost(name))) for name in shown(table)),
        masks=tuple(_mask(table, spec) for spec in table.masks),
        estimates=estimates(table),
        contrasts=contrasts(table),
        sets=sets,
        memory=memory_rows(table, looks),
        probes=probe_rows(table),
        claims=claims(table, looks),
        biomarkers=(*agreements(table, volumes), *agreements(table, motion)),
        failures=tuple(sorted({str(facts.get("reason", "")) for facts in table.failures})),
    )


def _single(table: Table) -> tuple[str, ...]:
    """Return what a run of one sample a frame cannot say."""
    # scores of a distribution are undefined of a single draw, and a reader would look for them in vain
    single = any(info.kind == "model" and info.samples == 1 for info in table.methods.values())
    what = "one sample a frame: no energy score, calibration or spread, which need two or more (--samples)"
    return (what,) if single else ()


def _mask(table: Table, spec: str) -> MaskRow:
    hidden = float(table.columns["hidden"][table.columns["mask"] == spec].mean())
    return MaskRow(**vars(table.masks[spec]), hidden=hidden)
