"""The claims of the field, judged by the numbers of a table."""

from collections.abc import Mapping
from functools import partial
from itertools import product

import numpy as np

from cmrgz.evaluation.claims.evidence import Arm, Distances, Evidence, Values, Verdict
from cmrgz.evaluation.claims.verdicts import judge
from cmrgz.evaluation.summary.derived import HALLUCINATION
from cmrgz.evaluation.summary.estimates import shown
from cmrgz.evaluation.summary.sets import Reals, features
from cmrgz.evaluation.table import Table

DIFFUSION, AUTOREGRESSIVE = ("ldm", "flow"), ("ar",)
"""Families of either side."""
REFERENCES = ("ar-vq", "ldm-unet")
"""Models that stand for their side where they take part."""
NAIVE = ("preset=paper_like", "algorithm=replace", "order=forced", "order=raster")
"""Options of a plain sampler."""
MEASURES = (HALLUCINATION, "fpe-hole", "topology-violations", "sfrc-hole")


def claims(table: Table, reals: Mapping[str, Reals]) -> tuple[Verdict, ...]:
    """Return what a run says of each claim."""
    return judge(evidence(table, reals))


def evidence(table: Table, reals: Mapping[str, Reals]) -> Evidence:
    """Return the evidence of a table, at the ratios of its first pattern."""
    masks = _masks(table)
    values = partial(_values, table, masks)
    return Evidence(
        diffusion=_arm(table, DIFFUSION),
        autoregressive=_arm(table, AUTOREGRESSIVE),
        families=_plain(table, (*DIFFUSION, *AUTOREGRESSIVE)),
        hallucination={name: values(name) for name in MEASURES if name in table.metrics},
        psnr=values("psnr-hole"),
        mse=values("mse-hole"),
        haarpsi=values("haarpsi-hole"),
        kid={name: _distances(table, masks, name, own) for name, own in reals.items()},
    )


def _masks(table: Table) -> dict[float, str]:
    """Return the masks of the pattern with most ratios by their ratio; nothing and all hidden belong to every one."""
    # a curve needs one pattern: ratios of several would mix the shape of a hole with its size
    inner = [info for info in table.masks.values() if 0 < info.ratio < 1]
    patterns = [info.pattern for info in inner]
    pattern = max(patterns, key=patterns.count, default="")
    chosen = [info for info in table.masks.values() if info.pattern == pattern or info.ratio in (0, 1)]
    return {info.ratio: info.spec for info in chosen}


def _plain(table: Table, families: tuple[str, ...]) -> list[str]:
    """Return the models of some families as they are, without options, in the order of the run."""
    # variants are left out: to take the best of them would choose by the results that judge
    models = [info for info in table.methods.values() if info.kind == "model" and info.family in families]
    return [info.name for info in models if ":" not in info.name] or [info.name for info in models][:1]


def _arm(table: Table, families: tuple[str, ...]) -> Arm | None:
    """Return a side: its reference model, or else the first of the run; declared before, never by results."""
    plain = _plain(table, families)
    if not plain:
        return None
    best = next((name for name in REFERENCES if name in plain), plain[0])
    naive = [name for name in table.methods if name.startswith(f"{best}:") and any(word in name for word in NAIVE)]
    floor = f"round-trip {table.methods[best].tokenizer}"
    return Arm(best, naive=naive[0] if naive else None, floor=floor if floor in table.methods else None)


def _values(table: Table, masks: Mapping[float, str], metric: str) -> Values:
    places = product(shown(table), masks.items())
    found = {(name, ratio): table.by_subject(metric, name, mask) for name, (ratio, mask) in places}
    return {key: of for key, of in found.items() if of}


def _distances(table: Table, masks: Mapping[float, str], extractor: str, reals: Reals) -> Distances:
    """Return the kernel distance of every method and ratio to the real frames, as a statistic of patients."""
    found = {}
    for name, (ratio, mask) in product(shown(table), masks.items()):
        drawn, subjects = features(table, name, mask, extractor, 1)
        # one result has no covariance with another, and one NaN would spread through the whole kernel
        if len(drawn) > 1 and bool(np.isfinite(drawn).all()):
            found[name, ratio] = reals.distance(drawn, subjects)
    return found
