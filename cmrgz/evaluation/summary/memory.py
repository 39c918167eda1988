"""Memorisation: whether what is drawn from nothing is near to training frames, and whether those are filled better."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cmrgz.errors import CmrgzError
from cmrgz.evaluation.competitors import Probe
from cmrgz.evaluation.memorisation import audit, inpainting_probe
from cmrgz.evaluation.summary.rows import MemoryRow, ProbeRow
from cmrgz.evaluation.summary.sets import Reals, features
from cmrgz.evaluation.table import Table

LEAST, ROUGH = 2, 10
"""Training frames and results without which nothing can be said, and of fewer than which a share is rough."""


def memory_rows(table: Table, reals: Mapping[str, Reals]) -> tuple[MemoryRow, ...]:
    """Return what distances say of every model at ratio 1, on every extractor; none without training frames."""
    # with something known a result is near to what was given, and to its twin among the training frames if it has one
    free = [spec for spec, info in table.masks.items() if info.ratio == 1]
    models = [name for name, info in table.methods.items() if info.kind == "model"]
    if not free or not len(table.rows("bank")):
        return ()
    return tuple(_row(table, name, free[0], extractor, own) for extractor, own in reals.items() for name in models)


def _row(table: Table, method: str, mask: str, extractor: str, reals: Reals) -> MemoryRow:
    drawn, _ = features(table, method, mask, extractor, 1)
    row = MemoryRow(method=method, extractor=extractor, items=len(drawn))
    # shares of a few results jump by tenths: they are told, with a word of warning
    fewest = min(len(drawn), len(reals.bank))
    of = f"{len(drawn)} results and {len(reals.bank)} training frames"
    if fewest < LEAST:
        return replace(row, reason=f"needs {LEAST} of each, has {of}")
    try:
        found = audit(drawn, reals.bank, reals.features, reals.bank_subjects.tolist(), reals.subjects.tolist())
    except CmrgzError as error:
        return replace(row, reason=error.what)
    return replace(row, audit=found, reason=f"rough: of {of}" if fewest < ROUGH else "")


def probe_rows(table: Table) -> tuple[ProbeRow, ...]:
    """Return how well the error in the hole tells training frames from others, for every model that was probed."""
    probed = [name.removesuffix(Probe.SUFFIX) for name, info in table.methods.items() if info.kind == "probe"]
    found = []
    for name, mask in product(probed, table.masks):
        (trained, of_trained), (held, of_held) = (_errors(table, own, mask) for own in (name + Probe.SUFFIX, name))
        if len(trained) and len(held):
            auc = inpainting_probe(trained, held, of_trained, of_held)
            found.append(ProbeRow(method=name, mask=mask, **vars(auc)))
    return tuple(found)


def _errors(table: Table, method: str, mask: str) -> tuple[NDArray[np.float64], list[str]]:
    """Return the squared error in the hole of each frame, and whose it is."""
    rows = table.rows(method, mask)
    values = table.metrics["mse-hole"][rows]
    good = ~np.isnan(values)
    return values[good], table.columns["subject"][rows][good].tolist()
