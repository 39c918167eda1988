"""Gates: conditions without which no number of a run counts."""

import numpy as np

from cmrgz.evaluation.crops import PLANES
from cmrgz.evaluation.summary.rows import Gate
from cmrgz.evaluation.table import Table


def gates(table: Table) -> tuple[Gate, ...]:
    """Return what holds of a run and what does not."""
    return (_leak(table), _masks(table), _exact(table), _ranges(table), _ratios(table), _patients(table))


def _gate(name: str, holds: bool, good: str, bad: str) -> Gate:
    return Gate(name=name, status="pass" if holds else "fail", detail=good if holds else bad)


def _leak(table: Table) -> Gate:
    """Hidden pixels were changed once for each method, and its result had to be the same to the bit."""
    leaked = sorted({str(f["method"]) for f in table.failures if "error[leak]" in str(f.get("reason", ""))})
    tested = {line.facts["method"] for line in table.lines if line.facts.get("leak_tested")}
    models = {name for name, info in table.methods.items() if info.kind == "model"}
    if leaked:
        return Gate(name="leak", status="fail", detail=f"depends on hidden pixels: {', '.join(leaked)}")
    if models - tested:
        return Gate(name="leak", status="unknown", detail=f"not tested: {', '.join(sorted(models - tested))}")
    return Gate(
        name="leak", status="pass", detail="no result depends on a hidden pixel (tested bit by bit, each model)"
    )


def _masks(table: Table) -> Gate:
    """All methods must have seen the same mask of a frame."""
    c = table.columns
    places = np.array([f"{f}|{m}|{s}" for f, m, s in zip(c["frame"], c["mask"], c["seed"], strict=True)])
    pairs = np.unique(np.stack([places, c["known_sha1"].astype(places.dtype)], axis=1), axis=0)
    same = len(pairs) == len(np.unique(places))
    return _gate("masks", same, "every method saw the same hidden pixels of a frame", "methods saw different masks")


def _ranges(table: Table) -> Gate:
    """Results must lie in [0, 1] as the truth does: the range of every score is fixed."""
    low, high = float(table.columns["low"].min()), float(table.columns["high"].max())
    within = low >= 0 and high <= 1
    bad = f"values of {low:.3g} .. {high:.3g}"
    return _gate("range", within, "all values are in 0 .. 1, the range of every score", bad)


def _exact(table: Table) -> Gate:
    """Known pixels must be in the result as they were given."""
    changed = int((~table.columns["exact"]).sum())
    return _gate("known", not changed, "known pixels are bit-equal in every result", f"changed in {changed} cells")


def _ratios(table: Table) -> Gate:
    """The share of a crop that is hidden must be the one that was asked for, but for the size of a patch or a plane."""
    ratios = {spec: info.ratio for spec, info in table.masks.items() if info.pattern not in PLANES}
    wanted = np.array([ratios.get(mask, np.nan) for mask in table.columns["mask"].tolist()])
    off = np.abs(table.columns["hidden"].astype(np.float64) - wanted)
    worst = float(np.nanmax(off)) if np.isfinite(off).any() else 0.0
    detail = f"the share hidden is the one asked for, at most {worst:.3f} off"
    return _gate("ratio", worst <= 0.02, detail, f"the share hidden is {worst:.3f} off")


def _patients(table: Table) -> Gate:
    """No patient may be both evaluated and learned from, in this run or in the training of a model."""
    of = {name: set(table.columns["subject"][table.rows(name)].tolist()) for name in ("real", "bank")}
    both = of["real"] & of["bank"]
    if both:
        return Gate(name="patients", status="fail", detail=f"{len(both)} patients are evaluated and learned from")
    told = [line.facts for line in table.lines if line.facts["kind"] == "model"]
    seen = sorted({f["method"] for f in told if f["seen"]})
    silent = sorted({f["method"] for f in told if f["seen"] is None})
    if seen:
        return Gate(name="patients", status="fail", detail=f"trained on patients of this run: {', '.join(seen)}")
    if silent:
        return Gate(name="patients", status="unknown", detail=f"do not tell who they learned from: {', '.join(silent)}")
    return Gate(name="patients", status="pass", detail="no evaluated patient was learned from, by models or baselines")
