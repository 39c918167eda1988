"""Checks of metrics and mask patterns: each hostile one is caught by the check meant for it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cmrgz.cli import main
from cmrgz.data.mask_patterns import PATTERNS, PlanePattern, ScanPattern
from cmrgz.evaluation.metrics import FRAME_METRICS
from cmrgz.evaluation.metrics.base import Metric, Sampled
from cmrgz.testing.conformance import checks_of, outcome

GOOD = FRAME_METRICS["mse-hole"]
count = iter(range(1000))


def writing(frame: Sampled) -> float:
    frame.drawn[0, 0, 0] = 0.5
    return GOOD.of(frame)


def seeding(frame: Sampled) -> float:
    np.random.seed(0)  # noqa: NPY002
    return GOOD.of(frame)


def whole_image(frame: Sampled) -> float:
    return float(((frame.samples - frame.truth) ** 2).mean())


def scale_of_the_image(frame: Sampled) -> float:
    with np.errstate(all="ignore"):
        return GOOD.of(frame) / float(np.float64(np.ptp(frame.truth)))


def single(frame: Sampled) -> float:
    return GOOD.of(frame) * (1.5 if frame.truth.dtype == np.float32 else 1.0)


METRICS: dict[str, tuple[Metric, str]] = {
    "writes to its input": (replace(GOOD, of=writing), "pure_and_deterministic"),
    "seeds numpy": (replace(GOOD, of=seeding), "pure_and_deterministic"),
    "another number each time": (replace(GOOD, of=lambda frame: float(next(count))), "pure_and_deterministic"),
    "an array": (replace(GOOD, of=lambda frame: frame.mean), "pure_and_deterministic"),  # type: ignore[arg-type, return-value]
    "0 where nothing is hidden": (replace(GOOD, of=whole_image), "nan_where_undefined"),
    "over nothing": (replace(GOOD, name="mse", of=scale_of_the_image), "nan_where_undefined"),
    "the wrong way round": (replace(GOOD, better="higher"), "direction_holds"),
    "other numbers of float32": (replace(GOOD, of=single), "precision_and_order_do_not_matter"),
    "the first sample": (
        replace(GOOD, of=lambda frame: float(((frame.samples[0] - frame.truth) ** 2)[frame.hidden].mean())),
        "precision_and_order_do_not_matter",
    ),
}


@pytest.mark.parametrize("fault", METRICS)
def test_a_hostile_metric_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    metric, check = METRICS[fault]
    monkeypatch.setitem(FRAME_METRICS, "hostile", metric)
    status, reason = outcome(checks_of("hostile")[check])
    assert status == "failed" and "\n" not in reason, (status, reason)


def unseeded(plane: Any) -> Any:
    return np.random.default_rng().random(plane.grid)


def global_numbers(plane: Any) -> Any:
    return np.random.rand(*plane.grid)  # noqa: NPY002


def of_the_seed_alone(plane: Any) -> Any:
    return np.random.default_rng(plane.draw.seed).random(plane.grid)


def of_how_many(plane: Any) -> Any:
    return np.random.default_rng([plane.draw.seed, *plane.draw.shape, len(plane.draw.case)]).random(plane.grid)


def writes_to_the_label(plane: Any) -> Any:
    plane.draw.label[:] = 0
    return plane.rng.random(plane.grid)


class Loose(PlanePattern):
    """Hides by a threshold, so that the share is about right."""

    def _cut(self, plane: Any, score: Any, ratio: float) -> Any:
        return score < ratio


class Anew(PlanePattern):
    """Another draw for each share."""

    def hidden(self, draw: Any, ratio: float | None, options: Any) -> Any:
        return super().hidden(replace(draw, case=f"{draw.case}{ratio}"), ratio, options)


def fair(plane: Any) -> Any:
    return plane.rng.random(plane.grid)


MASKS: dict[str, tuple[PlanePattern | ScanPattern, str]] = {
    "about the share": (Loose(fair), "share_is_exact"),
    "another draw for each share": (Anew(fair), "smaller_share_is_part_of_a_larger_one"),
    "no seed": (PlanePattern(unseeded), "function_of_seed_and_case"),
    "global numbers": (PlanePattern(global_numbers), "function_of_seed_and_case"),
    "of how many planes there are": (PlanePattern(of_how_many), "function_of_seed_and_case"),
    "one for all cases": (PlanePattern(of_the_seed_alone), "seeds_and_cases_differ"),
    "a changed label": (PlanePattern(writes_to_the_label), "boolean_and_its_own"),
}


@pytest.mark.parametrize("fault", MASKS)
def test_a_hostile_mask_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern, check = MASKS[fault]
    monkeypatch.setitem(PATTERNS, "hostile", pattern)
    status, reason = outcome(checks_of("hostile")[check])
    assert status == "failed" and reason and "\n" not in reason, (status, reason)


def test_fair_ones_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PATTERNS, "fair", PlanePattern(fair, size=16))
    assert {outcome(check)[0] for check in checks_of("fair").values()} == {"passed"}
    monkeypatch.setitem(FRAME_METRICS, "fair-hole", replace(GOOD, name="fair-hole"))
    assert {outcome(check)[0] for check in checks_of("fair-hole").values()} == {"passed"}


@pytest.mark.parametrize("name", ["psnr-hole", "patch"])
def test_the_command_checks_them(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "check", name]) == 0
    assert "passed   " in capfd.readouterr().out


def test_a_failing_one_names_its_package(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(FRAME_METRICS, "hostile", METRICS["the wrong way round"][0])
    assert main(["plugins", "check", "hostile"]) == 5
    told = capfd.readouterr()
    assert "failed   direction_holds  higher is better, and" in told.out and "hostile [cmrgz " in told.err


def test_nothing_else_has_checks(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "check", "psnr-hol"]) == 2
    assert "did you mean 'psnr-hole'" in capfd.readouterr().err
