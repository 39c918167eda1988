from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrgz.errors import DataError
from cmrgz.evaluation.statistics.bootstrap import bootstrap
from cmrgz.evaluation.statistics.estimates import mean
from cmrgz.evaluation.statistics.subjects import average, caveats, paired


def table(seed: int = 0, subjects: int = 6, frames: int = 4, seeds: int = 3) -> list[tuple[str, str, float]]:
    rng = np.random.default_rng(seed)
    keys = [(f"s{s}", f"f{f}", s) for s in range(subjects) for f in range(frames) for _ in range(seeds)]
    return [(subject, frame, float(rng.exponential() + s)) for subject, frame, s in keys]


def columns(rows: list[tuple[str, str, float]]) -> Any:
    return tuple(zip(*rows, strict=True))


def test_frames_weigh_the_same_however_often_they_were_drawn() -> None:
    found = average(["b", "b", "b", "b", "a"], ["1", "1", "1", "2", "1"], [3.0, 6.0, 9.0, 0.0, 5.0])
    assert found.names == ("a", "b")
    assert found.values.tolist() == [5.0, 3.0]
    assert found.frames.tolist() == [1, 2] and found.left_out.tolist() == [0, 0]
    assert found.column() == {"a": 5.0, "b": 3.0}


def test_undefined_rows_are_left_out_and_counted() -> None:
    nan = float("nan")
    found = average(["a", "a", "a", "b", "b"], [1, 1, 2, 1, 2], [4.0, nan, nan, nan, nan])
    assert found.values[0] == 4.0 and np.isnan(found.values[1])
    assert found.frames.tolist() == [1, 0] and found.left_out.tolist() == [2, 2]


def test_an_empty_table_has_no_subject() -> None:
    found = average([], [], [])
    assert found.names == () and found.values.shape == (0,)


def test_the_columns_must_agree() -> None:
    with pytest.raises(DataError, match="shape-mismatch"):
        average(["a"], ["1", "2"], [1.0])


@settings(deadline=None, max_examples=25)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter_in_any_bit(random: Any) -> None:
    rows = table()
    shuffled = random.sample(rows, len(rows))
    assert average(*columns(shuffled)).values.tobytes() == average(*columns(rows)).values.tobytes()


def test_repeating_the_frames_of_a_subject_changes_no_interval() -> None:
    """Clusters are the unit: more frames of the same patients are not more patients."""
    rows = table()
    once = average(*columns(rows))
    often = average(*columns([(s, f"{f}-{i}", v) for s, f, v in rows for i in range(10)]))
    np.testing.assert_allclose(often.values, once.values, rtol=1e-12)
    narrow, wide = (bootstrap(mean(x.values), 6).interval() for x in (often, once))
    np.testing.assert_allclose([narrow.low, narrow.high], [wide.low, wide.high], rtol=1e-12)
    assert wide.n == narrow.n == 6


def test_pairs_are_of_subjects_that_have_both() -> None:
    names, values = paired({"c": 3.0, "a": 1.0, "b": float("nan")}, {"a": 2.0, "b": 5.0, "c": 7.0, "d": 9.0})
    assert names == ("a", "c") and values.tolist() == [[1.0, 2.0], [3.0, 7.0]]
    assert paired({"a": 1.0}, {"b": 1.0})[1].shape == (0, 2)


def test_few_subjects_and_single_trainings_are_said() -> None:
    assert caveats(8) == (
        "descriptive only: 8 subjects, fewer than 30",
        "1 training run: conclusions are about these checkpoints",
    )
    assert caveats(30, runs=3) == ()
