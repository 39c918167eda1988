from typing import Any

import numpy as np
import pytest

from cmrgz.data.phantom.render import Phantom
from cmrgz.evaluation.metrics.base import Labels, Sampled
from cmrgz.evaluation.metrics.topology import METRICS, RULES, broken

SPACING = 1.4


def heart(size: int = 96) -> Labels:
    """Return a left ventricle in its ring, and a right one to the left of it."""
    i, j = np.mgrid[:size, :size]
    to_lv, to_rv = np.hypot(i - 48, j - 52), np.hypot(i - 48, j - 32)
    wall = np.where(to_lv < 16, 2, np.where(to_rv < 12, 1, 0))
    return np.where(to_lv < 10, 3, wall).astype(np.uint8)


def found(*segments: Labels, truth: Labels | None = None) -> dict[str, float]:
    blank = np.zeros((len(segments), *segments[0].shape))
    frame = Sampled(blank[0], blank[0] > 0, blank, SPACING, None, truth, np.stack(segments))
    return {m.name: m.of(frame) for m in METRICS}


def with_second_lv(x: Any) -> None:
    x[8:14, 8:14] = 3


def with_gap(x: Any) -> None:
    x[46:51, 60:70] = 0


def with_torn_wall(x: Any) -> None:
    x[10:14, 80:84] = 2


def with_rv_apart(x: Any) -> None:
    x[x == 1] = 0
    x[40:50, 8:18] = 1


BREAK: dict[str, Any] = {
    "second-lv": with_second_lv,
    "open-ring": with_gap,
    "torn-wall": with_torn_wall,
    "rv-apart": with_rv_apart,
}


def broken_heart(rule: str) -> Labels:
    x = heart()
    BREAK[rule](x)
    return x


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_broken_by_what_it_forbids(rule: str) -> None:
    assert broken(heart(), SPACING) == frozenset()
    assert rule in broken(broken_heart(rule), SPACING)


@pytest.mark.parametrize("turn", range(4))
def test_rules_do_not_know_directions(turn: int) -> None:
    for rule in RULES:
        turned = np.rot90(broken_heart(rule), turn)
        assert broken(turned, SPACING) == broken(broken_heart(rule), SPACING)


def test_specks_and_small_gaps_are_forgiven() -> None:
    x = heart()
    x[5:8, 5:8], x[5:8, 50:53] = 3, 2  # 9 pixels of 1.96 mm^2
    x[48:50, 60:70] = 0
    assert broken(x, SPACING) == frozenset()
    assert broken(x, 2.0) == {"second-lv", "torn-wall"}  # larger pixels make them more than specks


def test_missing_parts_break_no_rule_and_are_counted_apart() -> None:
    only_lv = np.where(heart() == 3, 3, 0).astype(np.uint8)
    assert broken(np.zeros((96, 96), dtype=np.uint8), SPACING) == frozenset()
    assert broken(only_lv, SPACING) == {"open-ring"}
    values = found(heart(), only_lv, truth=heart())
    assert values["parts-lost"] == 0.5 and values["parts-invented"] == 0
    assert found(heart(), only_lv, truth=only_lv)["parts-invented"] == 0.5


def test_violations_are_the_share_of_samples_beyond_what_the_truth_breaks() -> None:
    wrong = broken_heart("second-lv")
    assert found(heart(), wrong)["topology-violations"] == 0.5  # no truth is needed
    assert found(heart(), wrong, truth=heart())["topology-violations"] == 0.5
    assert found(wrong, broken_heart("open-ring"), truth=wrong)["topology-violations"] == 0.5
    assert found(heart(), truth=wrong)["topology-violations-truth"] == 1
    assert found(heart(), truth=heart())["topology-violations-truth"] == 0


def test_without_a_segmenter_nothing_is_said() -> None:
    blank = np.zeros((1, 8, 8))
    assert all(np.isnan(m.of(Sampled(blank[0], blank[0] > 0, blank))) for m in METRICS)


def test_phantoms_keep_the_rules() -> None:
    phantom = Phantom(7)
    _, labels = phantom.cine(2, phantom.heights()[2:-2:2])
    assert sum((segment == 3).any() for segment in labels.reshape(-1, *labels.shape[2:])) >= 6
    assert not any(broken(segment, phantom.spacing) for frame in labels for segment in frame)
