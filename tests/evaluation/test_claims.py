"""Verdicts on synthetic results in which each claim is true, false or void by construction."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from cmrgz.evaluation.claims.evidence import Arm, Evidence, Values, Verdict
from cmrgz.evaluation.claims.fidelity import fidelity
from cmrgz.evaluation.claims.hallucination import growth, intrinsic
from cmrgz.evaluation.claims.perception import stability, unconditional
from cmrgz.evaluation.claims.rules import agreement
from cmrgz.evaluation.claims.verdicts import CLAIMS, judge
from cmrgz.evaluation.statistics.bootstrap import Bootstrap, bootstrap
from cmrgz.evaluation.statistics.estimates import mean
from cmrgz.evaluation.statistics.kernel import kernel_distance

BETWEEN = (0.1, 0.25, 0.5, 0.75, 0.9)
DIFFUSION, OTHER = Arm("ldm", "ldm:replace", "ldm:round-trip"), Arm("ar", "ar:forced", "ar:round-trip")
EXTRACTORS = ("ssl", "random")
Key = tuple[str, float]
Curve = Callable[[float], float]


def flat(value: float) -> Curve:
    return lambda ratio: value


def rising(slope: float, at: float = 0.0) -> Curve:
    return lambda ratio: at + slope * ratio


@dataclass
class World:
    """What is true of each method; `shift` is how far its features are from real ones."""

    shift: dict[str, Curve]
    psnr: dict[str, Curve]
    haarpsi: dict[str, Curve]
    hallucination: dict[str, Curve]
    mse: dict[str, Curve]
    n: int = 36
    seed: int = 0
    tables: dict[str, dict[Key, Any]] = field(default_factory=dict)
    features: dict[str, dict[Key, Any]] = field(default_factory=dict)
    real: dict[str, Any] = field(default_factory=dict)

    def draw(self, sets: bool = True) -> "World":
        rng = np.random.default_rng(self.seed)
        for name, spread in (("psnr", 0.5), ("haarpsi", 0.02), ("hallucination", 0.1), ("mse", 0.02)):
            own, curves = rng.normal(size=self.n), getattr(self, name)
            self.tables[name] = {
                (m, r): curve(r) + spread * (2 * own + rng.normal(size=self.n))
                for m, curve in curves.items()
                for r in BETWEEN
            }
        for extractor in EXTRACTORS if sets else ():
            own = 0.3 * rng.normal(size=(self.n, 1, 6))
            self.real[extractor] = own + rng.normal(size=(self.n, 4, 6))
            self.features[extractor] = {
                (m, r): own + curve(r) + rng.normal(size=(self.n, 4, 6))
                for m, curve in self.shift.items()
                for r in (0.0, *BETWEEN, 1.0)
            }
        return self

    def swapped(self, groups: tuple[tuple[str, ...], ...], sets_only: bool = False) -> "World":
        """Shuffle the labels of each group of methods, subject by subject, alike at all ratios and in all metrics."""
        tables = [*self.features.values(), *([] if sets_only else self.tables.values())]
        rng = np.random.default_rng(self.seed + 1)
        for group in groups:
            order = rng.permuted(np.tile(np.arange(len(group)), (self.n, 1)), axis=1)
            for table in tables:
                for ratio in {r for _, r in table}:
                    keys = [(m, ratio) for m in group]
                    if all(k in table for k in keys):
                        stacked = np.stack([table[k] for k in keys], axis=1)
                        for i, key in enumerate(keys):
                            table[key] = stacked[np.arange(self.n), order[:, i]]
        return self

    def evidence(self) -> Evidence:
        names = [f"s{i:03}" for i in range(self.n)]
        owners = [s for s in names for _ in range(4)]

        def values(name: str) -> Values:
            return {k: dict(zip(names, v.tolist(), strict=True)) for k, v in self.tables[name].items()}

        kid = {
            x: {
                k: kernel_distance(f.reshape(-1, 6), owners, self.real[x].reshape(-1, 6), owners) for k, f in at.items()
            }
            for x, at in self.features.items()
        }
        families, measures = ("ldm", "ar", "mar"), values("hallucination")
        scores = (values(name) for name in ("psnr", "mse", "haarpsi"))
        return Evidence(DIFFUSION, OTHER, families, {"hallucination rate": measures}, *scores, kid)


def world(**changed: Any) -> World:
    """Return a world in which every claim is true, with some of its curves changed."""
    near, far = rising(1.3), lambda r: 0.6 if r else 0.0
    curves: dict[str, dict[str, Curve]] = {
        "shift": {
            "ldm": lambda r: 0.2 if r == 1 else near(r), "ar": far, "mar": flat(2.0), "mean": flat(1.5),
            "ldm:round-trip": flat(0.1), "ar:round-trip": flat(0.1),
        },
        "psnr": {"ldm": rising(-9, 30), "ar": rising(-9, 29)},
        "haarpsi": {
            "ldm": rising(-0.4, 0.9), "ar": flat(0.8), "mean": flat(0.3), "ldm:round-trip": flat(0.95),
            "ar:round-trip": flat(0.95),
        },
        "hallucination": {
            "ldm": rising(0.5), "ldm:replace": rising(0.6), "ar": rising(0.05), "ar:forced": rising(0.1),
        },
        "mse": {
            "ldm": lambda r: 1 - 0.3 * near(r), "ar": flat(1 - 0.3 * 0.6), "mar": flat(1 - 0.3 * 2.0),
            "ldm:round-trip": flat(0.1), "ar:round-trip": flat(0.1),
        },
    }  # fmt: skip
    for name, methods in changed.items():
        curves[name] = {**curves[name], **methods}
    return World(**curves)


@cache
def verdicts(kind: str) -> dict[str, Verdict]:
    wrong = {
        "shift": {"ldm": lambda r: 1.0 if r == 1 else 0.2, "ar": lambda r: 0.4 if r == 1 else rising(1.5)(r)},
        "psnr": {"ldm": rising(-9, 28)},
        "haarpsi": {"ar": rising(-0.5, 0.9), "ldm": flat(0.8)},
        "hallucination": {"ar": rising(0.5), "ar:forced": rising(0.6), "ldm": flat(0.2), "ldm:replace": flat(0.2)},
        "mse": {"ldm": flat(0.1), "ar": rising(0.3, 0.3), "mar": flat(1.5)},
    }
    both, three = (
        (("ldm", "ar"), ("ldm:replace", "ar:forced"), ("ldm:round-trip", "ar:round-trip")),
        ("ldm", "ar", "mar"),
    )
    built = {
        "true": lambda: world().draw().evidence(),
        "false": lambda: world(**wrong).draw().evidence(),
        "shuffled": lambda: world().draw().swapped(both).evidence(),
        "shuffled-three": lambda: world().draw().swapped((three,), sets_only=True).evidence(),
        "same": lambda: twice(world().draw().evidence()),
    }[kind]()
    return {v.name: v for v in judge(built)}


def twice(evidence: Evidence) -> Evidence:
    """Return the autoregressive model in the place of both, under two names."""

    def doubled(table: Any) -> Any:
        names = {"ar": "ldm", "ar:forced": "ldm:replace", "ar:round-trip": "ldm:round-trip"}
        return {**table, **{(names[m], r): v for (m, r), v in table.items() if m in names}}

    return replace(
        evidence,
        families=("ldm", "ar"),
        hallucination={k: doubled(v) for k, v in evidence.hallucination.items()},
        psnr=doubled(evidence.psnr), mse=doubled(evidence.mse), haarpsi=doubled(evidence.haarpsi),
        kid={k: doubled(v) for k, v in evidence.kid.items()},
    )  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
def test_a_true_claim_is_supported(name: str) -> None:
    verdict = verdicts("true")[name]
    assert verdict.outcome == "supported", verdict.why
    assert verdict.interval.n == 36 and not verdict.descriptive and verdict.adjusted <= 0.05
    assert verdict.interval.low <= verdict.interval.point <= verdict.interval.high
    assert verdict.statement and verdict.why and "another outcome" not in verdict.why


@pytest.mark.parametrize("name", CLAIMS)
def test_a_false_claim_is_refuted(name: str) -> None:
    verdict = verdicts("false")[name]
    assert verdict.outcome == "refuted", verdict.why


@pytest.mark.parametrize("name", ["C1", "C2", "C2b", "C3", "C4"])
def test_shuffled_families_decide_nothing(name: str) -> None:
    verdict = verdicts("shuffled")[name]
    assert verdict.outcome in ("undecided", "refuted" if name == "C3" else ""), verdict.why  # both sides may change


def test_shuffled_families_have_no_trade_off() -> None:
    """Of the distances alone: what is shuffled in both stays a trade-off, between mixtures of families."""
    assert verdicts("shuffled-three")["C5"].outcome == "undecided", verdicts("shuffled-three")["C5"].why


@pytest.mark.parametrize("name", CLAIMS)
def test_the_same_checkpoint_under_two_names_decides_nothing(name: str) -> None:
    verdict = verdicts("same")[name]
    assert verdict.outcome == "undecided" and verdict.interval.side() * (name != "C3") == 0, verdict.why


def test_the_same_model_drawn_again_is_seldom_decided() -> None:
    outcomes = []
    for seed in range(100):
        same = replace(world(psnr={"ldm": flat(29), "ar": flat(29)}), n=30, seed=seed)
        same.hallucination = {m: rising(0.2) for m in same.hallucination}
        evidence = same.draw(sets=False).evidence()
        outcomes += [claim(evidence).outcome for claim in (growth, fidelity)]
    assert outcomes.count("undecided") >= 190


def test_perception_of_the_same_model_drawn_again_is_seldom_decided() -> None:
    outcomes = []
    for seed in range(12):
        same = replace(world(), n=20, seed=seed)
        same.shift = {"ldm": flat(0.3), "ar": flat(0.3)}
        outcomes.append(unconditional(same.draw().evidence()).outcome)
    assert outcomes.count("undecided") >= 11


def test_an_artefact_of_the_sampler_is_told_from_the_model() -> None:
    artefact = world(hallucination={"ldm": rising(0.05)}).draw(sets=False).evidence()
    assert growth(artefact).outcome == "supported"
    verdict = intrinsic(artefact)
    assert verdict.outcome == "refuted" and "artefact of the sampler" in verdict.why


def test_a_smaller_effect_with_other_samplers_is_no_artefact_until_the_drop_is_shown() -> None:
    curves = {"ldm:replace": rising(0.2), "ar:forced": rising(0.1), "ldm": rising(0.14), "ar": rising(0.1)}
    close = replace(world(hallucination=curves), seed=4).draw(sets=False).evidence()
    verdict = intrinsic(close)
    assert growth(close).outcome == "supported"
    assert verdict.outcome == "undecided"


def test_both_sides_stable_sets_neither_apart() -> None:
    """Also where they are shown to change differently, by less than the margin."""
    both = world(haarpsi={"ldm": rising(-0.04, 0.8)}, shift={"ldm": flat(0.2)}).draw().evidence()
    verdict = stability(both)
    assert verdict.why.endswith("that they change differently is shown")
    assert verdict.outcome == "undecided" and "diffusion is stable" in verdict.why


def test_a_side_that_is_only_not_shown_to_be_stable_is_not_set_apart() -> None:
    drawn = world(haarpsi={"ldm": flat(0.8)}, shift={"ldm": flat(0.2)}).draw().evidence()
    column = drawn.haarpsi["ldm", 0.9]
    noise = 0.4 * np.random.default_rng(0).normal(size=len(column))
    noisy = {**drawn.haarpsi, ("ldm", 0.9): {s: v + e for (s, v), e in zip(column.items(), noise, strict=True)}}
    verdict = stability(replace(drawn, haarpsi=noisy))
    assert "autoregressive side is stable, diffusion is not shown to be stable" in verdict.why
    assert verdict.outcome == "undecided"


def test_growth_needs_diffusion_itself_to_grow() -> None:
    """The other side falling is not diffusion growing."""
    curves = {"ldm:replace": flat(0.2), "ar:forced": rising(-0.5, 0.6)}
    falling = replace(world(hallucination=curves), seed=1).draw(sets=False).evidence()
    verdict = growth(falling)
    assert verdict.interval.side() == 1 and verdict.outcome == "undecided"


@pytest.mark.parametrize(("floor", "words"), [(0.1, "the same"), (0.82, "another outcome")])
def test_fidelity_says_whether_it_is_the_tokenizer(floor: float, words: str) -> None:
    worse = {"ldm": flat(0.1), "ldm:round-trip": flat(0.0), "ar": flat(0.82), "ar:round-trip": flat(floor - 0.1)}
    verdict = fidelity(world(mse=worse).draw(sets=False).evidence())
    assert verdict.outcome == "supported" and f"; {words} with the error" in verdict.why


def test_fidelity_at_too_few_ratios_is_undecided() -> None:
    """Ahead at two ratios of five, level at the others."""
    two = {"ldm": lambda r: 31.0 if r > 0.6 else 29.0, "ar": flat(29)}
    verdict = fidelity(world(psnr=two).draw(sets=False).evidence())
    assert verdict.outcome == "undecided" and "at 2 of 5 ratios" in verdict.why


def test_perception_says_whether_it_is_the_tokenizer() -> None:
    tokenizer = world(shift={"ar": lambda r: 0.5 if r < 1 else 0.6, "ldm": lambda r: 0.3 if r == 1 else 0.0})
    verdict = unconditional(tokenizer.draw().evidence())
    assert verdict.outcome == "supported" and "another outcome with the round trips subtracted" in verdict.why
    assert "by ssl" in verdict.why and "by random" in verdict.why


def test_one_extractor_alone_decides_nothing() -> None:
    drawn = world().draw()
    drawn.features["random"] = {k: drawn.features["random"]["ar", 1.0] for k in drawn.features["random"]}
    assert unconditional(drawn.evidence()).outcome == "undecided"


@pytest.mark.parametrize(
    ("missing", "named", "why"),
    [
        ({"diffusion": None}, {"C1", "C2", "C2b", "C3", "C4"}, "no diffusion model"),
        ({"autoregressive": None}, {"C1", "C2", "C2b", "C3", "C4"}, "no autoregressive model"),
        ({"families": ("ldm",)}, {"C5"}, "2 families are needed"),
        ({"kid": {}}, {"C1", "C3", "C5"}, "2 extractors are needed"),
        ({"mse": {}}, {"C5"}, "1 ratios are needed"),
        ({"hallucination": {}}, {"C2", "C2b"}, "no measure of hallucination"),
        ({"psnr": {}}, {"C4"}, "3 ratios are needed"),
        ({"haarpsi": {}}, {"C3"}, "2 ratios are needed"),
        ({"autoregressive": Arm("ar"), "diffusion": Arm("ldm")}, {"C2b"}, "only one sampler"),
        ({"autoregressive": Arm("ar", floor=None)}, {"C3"}, "no round trip"),
    ],
)
def test_what_is_missing_is_said(missing: dict[str, Any], named: set[str], why: str) -> None:
    evidence = replace(world().draw().evidence(), **missing)
    found = {v.name: v for v in judge(evidence)}
    for name in named:
        assert found[name].outcome == "not-tested" and why in found[name].why, found[name].why
        assert np.isnan(found[name].p) and np.isnan(found[name].adjusted) and found[name].interval.n == 0


def test_nothing_at_all_is_not_tested() -> None:
    assert [v.outcome for v in judge(Evidence())] == ["not-tested"] * 6


def test_few_ratios_are_said() -> None:
    drawn = world().draw(sets=False).evidence()
    few = {k: v for k, v in drawn.psnr.items() if k[1] < 0.3}
    assert "there are 2" in next(v for v in judge(replace(drawn, psnr=few)) if v.name == "C4").why


def test_sets_of_other_subjects_cannot_be_compared() -> None:
    evidence = world().draw().evidence()
    for at in evidence.kid.values():
        own = at["ar", 1.0]
        at["ar", 1.0] = replace(own, subjects=tuple(f"other-{s}" for s in own.subjects))
    verdict = judge(evidence)[0]
    assert verdict.outcome == "not-tested" and "there are 0" in verdict.why


def test_subjects_without_a_value_are_left_out_of_both_sides() -> None:
    drawn = world().draw(sets=False).evidence()
    drawn.psnr["ldm", 0.5]["s003"] = float("nan")
    del drawn.psnr["ar", 0.1]["s005"]
    assert fidelity(drawn).interval.n == 34


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_handful_of_subjects_decides_nothing_and_does_not_fail(n: int) -> None:
    for verdict in judge(replace(world(), n=n).draw().evidence()):
        assert verdict.outcome in ("undecided", "not-tested"), verdict.why
        assert verdict.descriptive == (verdict.outcome == "undecided")


def test_holm_over_the_claims_takes_a_narrow_one_back() -> None:
    """Alone the effect is just significant; beside five clear nulls it is not."""
    drawn = replace(world(shift={"ldm": flat(0.6)}), seed=1)
    drawn.hallucination = {m: rising(0.1) for m in drawn.hallucination}
    drawn.psnr = {"ldm": flat(29.2), "ar": flat(29)}
    evidence = drawn.draw().evidence()
    alone, judged = fidelity(evidence), {v.name: v for v in judge(evidence)}["C4"]
    assert alone.outcome == "supported" and 0.01 < alone.p < 0.05
    assert judged.outcome == "undecided" and judged.why.startswith("supported alone")
    assert judged.adjusted > 0.05


def test_agreement_counts_effects_of_one_sign() -> None:
    rng = np.random.default_rng(0)
    up, down, none = (bootstrap(mean(at + rng.normal(size=40)), 40) for at in (1, -1, 0))
    assert [agreement(x, 2, adjust=True)[0] for x in ([up, up, none], [down, down, up], [up, down, none])] == [1, -1, 0]
    levels = [agreement(x, 2, adjust=False)[1] for x in ([up, up, none], [up, none, down])]
    assert all(a < b for a, b in pairwise(levels))


def test_agreement_adjusts_for_the_number_of_effects() -> None:
    """p of about .03, .04 and 1: two of three at .05 as they are, none after Holm."""
    spread = np.random.default_rng(0).normal(size=5000)
    spread -= spread.mean()
    each = [Bootstrap(at, at + spread, np.zeros(40), corrected=False) for at in (2.17, 2.05, 0.0)]
    assert agreement(each, 2, adjust=False)[0] == 1
    direction, p = agreement(each, 2, adjust=True)
    assert direction == 0 and p == pytest.approx(3 * min(b.p() for b in each))
