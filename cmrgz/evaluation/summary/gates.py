"""Gates: conditions without which no number of a run counts."""

import numpy as np

from cmrgz.evaluation.crops import PLANES
from cmrgz.evaluation.summary.rows import Gate
from cmrgz.evaluation.table import Table


def gates(table: Table) -> tuple[Gate, ...]:
    """Return what holds of a run and what does not."""
    return (_leak(table), _masks(table), _exact(table), _ranges(table), _ratios(table), _patients(table))


def _gate(name: str, good: str, bad: str = "", unknown: str = "") -> Gate:
    """Return a gate that fails if something is bad, and is unknown if it could not be tested."""
    return Gate(name=name, status="fail" if bad else "unknown" if unknown else "pass", detail=bad or unknown or good)


def _leak(table: Table) -> Gate:
    """Hidden pixels were changed once for each method, and its result had to be the same to the bit."""
    leaked = sorted({str(f["method"]) for f in table.failures if "error[leak]" in str(f.get("reason", ""))})
    tested = {line.facts["method"] for line in table.lines if line.facts.get("leak_tested")}
    untested = sorted({name for name, info in table.methods.items() if info.kind == "model"} - tested)
    return _gate(
        "leak",
        "no result depends on a hidden pixel (tested bit by bit, each model)",
        f"depends on hidden pixels: {', '.join(leaked)}" if leaked else "",
        f"not tested: {', '.join(untested)}" if untested else "",
    )


def _masks(table: Table) -> Gate:
    """All methods must have seen the same mask of a frame."""
    c = table.columns
    # seeds hide differently on purpose: a place is a frame, a mask and a seed
    places = np.array([f"{f}|{m}|{s}" for f, m, s in zip(c["frame"], c["mask"], c["seed"], strict=True)])
    pairs = np.unique(np.stack([places, c["known_sha1"].astype(places.dtype)], axis=1), axis=0)
    bad = "methods saw different masks" if len(pairs) > len(np.unique(places)) else ""
    return _gate("masks", "every method saw the same hidden pixels of a frame", bad)


def _ranges(table: Table) -> Gate:
    """Results must lie in [0, 1] as the truth does: the range of every score is fixed."""
    low, high = float(table.columns["low"].min()), float(table.columns["high"].max())
    within = low >= 0 and high <= 1  # false for NaN, which must not pass
    bad = "" if within else f"values of {low:.3g} .. {high:.3g}"
    return _gate("range", "all values are in 0 .. 1, the range of every score", bad)


def _exact(table: Table) -> Gate:
    """Known pixels must be in the result as they were given."""
    changed = int((~table.columns["exact"]).sum())
    bad = f"changed in {changed} cells" if changed else ""
    return _gate("known", "known pixels are bit-equal in every result", bad)


def _ratios(table: Table) -> Gate:
    """The share of a crop that is hidden must be the one that was asked for, but for the size of a patch or a plane."""
    # planes come whole: of nine, half cannot be hidden
    ratios = {spec: info.ratio for spec, info in table.masks.items() if info.pattern not in PLANES}
    wanted = np.array([ratios.get(mask, np.nan) for mask in table.columns["mask"].tolist()])
    off = np.abs(table.columns["hidden"].astype(np.float64) - wanted)
    worst = float(np.nanmax(off)) if np.isfinite(off).any() else 0.0
    bad = f"the share hidden is {worst:.3f} off" if worst > 0.02 else ""
    return _gate("ratio", f"the share hidden is the one asked for, at most {worst:.3f} off", bad)


def _patients(table: Table) -> Gate:
    """No patient may be both evaluated and learned from, in this run or in the training of a model."""
    of = {name: set(table.columns["subject"][table.rows(name)].tolist()) for name in ("real", "bank")}
    both = of["real"] & of["bank"]
    told = [line.facts for line in table.lines if line.facts["kind"] == "model"]
    seen = sorted({f["method"] for f in told if f["seen"]})
    # a checkpoint from elsewhere may not tell its patients, which is not the same as having had none of these
    silent = sorted({f["method"] for f in told if f["seen"] is None})
    trained = f"trained on patients of this run: {', '.join(seen)}" if seen else ""
    return _gate(
        "patients",
        "no evaluated patient was learned from, by models or baselines",
        f"{len(both)} patients are evaluated and learned from" if both else trained,
        f"do not tell who they learned from: {', '.join(silent)}" if silent else "",
    )
