"""Summaries as they come: with everything, with next to nothing, and far too large."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from cmrgz.evaluation.claims.evidence import Outcome, Verdict
from cmrgz.evaluation.memorisation import Audit
from cmrgz.evaluation.report import Pictures
from cmrgz.evaluation.statistics.bootstrap import Interval
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import (
    BiomarkerRow,
    ContrastRow,
    Estimate,
    Gate,
    MaskRow,
    MemoryRow,
    MethodRow,
    ProbeRow,
    SetRow,
)

NAN = math.nan
LACKING = "needs 325 items in each set, has 64 generated and 16 real"
HOSTILE = "<script>alert('x')</script>&\"|`"
MODELS = (
    ("ar-vq", "ar"),
    ("ar-vq:preset=paper_like", "ar"),
    ("flow-dit:algorithm=replace,steps=10", "flow"),
    ("flow-dit:algorithm=lanpaint,steps=50,moves=5,move_size=1.2,pull=8.0", "flow"),
    ("ldm-unet", "ldm"),
    ("ar-maskgit:order=halton", "ar"),
    ("ar-mar", "ar"),
    (HOSTILE, "ldm"),
)
OTHERS = (
    *((name, "baseline") for name in ("mean", "harmonic", "biharmonic", "nearest", "gaussian-mean")),
    *((name, "baseline") for name in ("gaussian-sample", "temporal copy")),
    *((name, "bound") for name in ("round-trip vq", "round-trip kl")),
    *((name, "control") for name in ("control: blurred truth", "control: other patient")),
)
SHOWN = ("psnr-hole", "ssim-hole", "haarpsi-hole", "energy-hole", "kappa", "coverage-hole", "rank-low-hole",
         "rank-high-hole", "fpe-hole", "fne-hole", "sfrc-hole", "topology-violations", "parts-invented", "dice-lv",
         "mse-hole-average-1", "mse-hole-average-2", "mse-hole-average-4")  # fmt: skip
SAMPLED = ("energy-hole", "kappa", "coverage-hole", "rank-low-hole", "rank-high-hole")
BIOMARKERS = (("LVEDV", "ml"), ("LVEF", ""), ("LVM_ED", "g"))


def methods(models: int, others: int) -> tuple[MethodRow, ...]:
    """Return so many methods; beyond the named ones they are numbered."""
    named = [*MODELS, *((f"ldm-dit:variant={i}", "ldm") for i in range(20))][:models]
    rest = [*OTHERS, *((f"fill {i}", "baseline") for i in range(20))][:others]
    own = [
        MethodRow(name=n, kind="model", family=f, samples=4, seconds=1.234, calls=50, memory_mb=812.5) for n, f in named
    ]
    own += [MethodRow(name=n, kind=k, family=k, samples=4 if "sample" in n else 1, seconds=0.00071) for n, k in rest]
    real = [MethodRow(name=n, kind="real", family="real", samples=1) for n in ("real", "bank")]
    return (*own, *real)


def masks(patterns: int, ratios: tuple[float, ...]) -> tuple[MaskRow, ...]:
    names = ("patch", "box", "half:where=bottom", "irregular", "slices")[:patterns]
    inner = tuple(ratio for ratio in ratios if ratio < 1)
    return tuple(
        MaskRow(spec=f"{name}:{ratio:g}", pattern=name, ratio=ratio, hidden=min(ratio + 0.003, 1.0))
        for i, name in enumerate(names)
        for ratio in (ratios if i == 0 else inner)
    )


def value(metric: str, rank: int, kind: str, ratio: float) -> float:
    """Return a plausible number: worse with the rank of a method and with what is hidden."""
    good = {"bound": 0.05, "model": 0.3 + 0.04 * rank}.get(kind, 0.7 + 0.01 * rank) + 0.4 * ratio
    if metric.startswith("psnr"):
        return 34 - 14 * good
    if metric.startswith("mse-hole-average"):
        return 0.01 * good * (0.5 + 0.5 / int(metric.rsplit("-", 1)[1]))
    if metric == "coverage-hole":
        return 0.8 - 0.3 * (good - 0.5)
    if metric in ("kappa", "rank-low-hole", "rank-high-hole"):
        return math.exp(1 - 2 * good)
    return 0.3 * good if metric.startswith(("energy", "f", "sfrc", "topology", "parts")) else 1 - 0.5 * good


def estimates(own: tuple[MethodRow, ...], hidden: tuple[MaskRow, ...]) -> tuple[Estimate, ...]:
    found = []
    for mask in hidden:
        for rank, method in enumerate(m for m in own if m.kind != "real"):
            for metric in SHOWN:
                if metric in SAMPLED and method.samples < 2:
                    continue
                v = value(metric, rank, method.kind, mask.ratio)
                undefined = metric == "dice-lv" and method.kind == "baseline"
                found.append(
                    Estimate(method=method.name, mask=mask.spec, metric=metric, value=NAN if undefined else v,
                             low=NAN if undefined else v * 0.94, high=NAN if undefined else v * 1.07, subjects=8,
                             tied=method.kind == "model" and rank < 2)
                )  # fmt: skip
    return tuple(found)


def sets(own: tuple[MethodRow, ...], hidden: tuple[MaskRow, ...]) -> tuple[SetRow, ...]:
    found = []
    for extractor in ("segmenter", "random", "radiomics"):
        for mask in hidden:
            for rank, method in enumerate(m for m in own if m.kind != "real"):
                for metric in ("kid", "rbf-mmd", "fd-inf", "density", "coverage"):
                    bad = {"model": 3.0 + rank, "bound": 0.8}.get(method.kind, 40.0 * (1 + rank)) * (0.2 + mask.ratio)
                    missing = metric == "fd-inf"
                    for average in (1, 2, 4) if metric == "kid" and method.samples > 1 else (1,):
                        v = bad * (0.7 + 0.3 * average)
                        found.append(
                            SetRow(method=method.name, mask=mask.spec, extractor=extractor, metric=metric,
                                   average=average, value=NAN if missing else v,
                                   low=v * 0.8 if metric == "kid" else NAN,
                                   high=v * 1.3 if metric == "kid" else NAN, floor=0.42, items=64,
                                   reason=LACKING if missing else "")
                        )  # fmt: skip
    return tuple(found)


def contrasts(own: tuple[MethodRow, ...], hidden: tuple[MaskRow, ...]) -> tuple[ContrastRow, ...]:
    models = [m.name for m in own if m.kind == "model"]
    return tuple(
        ContrastRow(first=a, second=b, mask=mask.spec, metric=metric, difference=Interval(0.1 * (j - i), -0.05, 0.4, 8),
                    p=min(1.0, 0.0004 * 9 ** (i + j)), dz=Interval(0.6, 0.2, 1.1, 8), cliff=Interval(0.31, 0.1, 0.5, 8),
                    detectable=0.25)
        for metric in ("psnr-hole", "ssim-hole") for mask in hidden
        for i, a in enumerate(models) for j, b in enumerate(models[i + 1 :], i + 1)
    )  # fmt: skip


def summary(
    models: int = 8,
    others: int = 11,
    patterns: int = 2,
    ratios: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
    failed: bool = True,
) -> Summary:
    """Return a summary with a row of every kind."""
    own, hidden = methods(models, others), masks(patterns, ratios)
    leak = f"depends on hidden pixels: {HOSTILE}"
    verdicts: tuple[Outcome, ...] = ("supported", "refuted", "undecided", "not-tested", "supported", "undecided")
    return Summary(
        settings={
            "options": {"data": ["/home/somebody/DOE_JOHN"], "patterns": ["patch", "box"], "ratios": list(ratios),
                        "seeds": [0], "samples": 4, "frames": "2"},
            "cmrgz": "0.1.0", "device": "cpu", "revision": "b611f01bc92a8af6",
            "methods": [{"name": m.name, "kind": m.kind, "weights": "cf92deffb33c",
                         "options": {"steps": 10, "eta": None}}
                        for m in own],
        },
        cells=len(own) * len(hidden) * 16, subjects=8, frames=16,
        caveats=("descriptive only: 8 subjects, fewer than 30",
                 "1 training run: conclusions are about these checkpoints"),
        gates=(Gate(name="leak", status="fail" if failed else "pass", detail=leak if failed else "none"),
               Gate(name="masks", status="pass", detail="every method saw the same hidden pixels of a frame"),
               Gate(name="patients", status="unknown", detail="the training patients of a checkpoint are not known")),
        methods=own, masks=hidden,
        estimates=estimates(own, hidden), contrasts=contrasts(own, hidden), sets=sets(own, hidden),
        biomarkers=tuple(BiomarkerRow(method=m.name, mask=mask.spec, biomarker=b, unit=u, bias=-1.234,
                                      limits=(-9.87, 7.4), mae=3.3, n=8)
                         for m in own if m.kind == "model" for mask in hidden for b, u in BIOMARKERS),
        memory=tuple(MemoryRow(method=m.name, extractor="segmenter", audit=Audit(0.012, 93.2, NAN), items=64,
                               reason="needs 10 items") for m in own if m.kind == "model"),
        probes=tuple(ProbeRow(method=m.name, mask="patch:0.9", auc=0.53, low=0.41, high=0.64)
                     for m in own if m.kind == "model"),
        claims=tuple(Verdict(v, "what decided it", Interval(0.123, -0.0456, 0.3, 8), name=n,
                             statement=f"the statement of {n}, which takes a line or two in the report")
                     for n, v in zip(("C1", "C2", "C2b", "C3", "C4", "C5"), verdicts, strict=True)),
        failures=(f"{HOSTILE}: error[leak]", "ldm-unet: error[memory]: out of memory"),
    )  # fmt: skip


def pictures(of: Summary, side: int = 24, frames: int = 2) -> Pictures:
    """Return pictures of every method and mask."""
    rng, found = np.random.default_rng(0), {}
    for method in of.methods:
        for mask in of.masks if method.kind != "real" else ():
            stacks = rng.integers(0, 255, (frames, 6, side, side), dtype=np.uint8)
            stacks[:, 1] = np.where(rng.random((frames, side, side)) < mask.hidden, 0, 255)
            if method.samples < 2:
                stacks[:, 3:5], stacks[:, 5] = stacks[:, 2:3], 0
            found[method.name, mask.spec] = {f"frame{i}": stack for i, stack in enumerate(stacks)}
    return found


@pytest.fixture(scope="session")
def make() -> Callable[..., Summary]:
    return summary


@pytest.fixture(scope="session")
def full() -> Summary:
    return summary()


@pytest.fixture(scope="session")
def draw() -> Callable[..., Pictures]:
    return pictures
