import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrgz.errors import DataError
from cmrgz.evaluation.metrics import FRAME_METRICS, RATIOS, measure
from cmrgz.evaluation.metrics.base import Sampled


def drawn(k: int, seed: int = 0, size: int = 96) -> Sampled:
    rng = np.random.default_rng(seed)
    known = np.repeat(np.repeat(rng.random((size // 16, size // 16)) < rng.random(), 16, 0), 16, 1)
    labels = rng.integers(0, 4, (k + 2, size, size)).astype(np.uint8)
    truth, samples = rng.random((size, size)).astype(np.float32), rng.random((k, size, size)).astype(np.float32)
    return Sampled(truth, known, samples, 1.4, labels[0], labels[1], labels[2:])


def test_names_are_unique_and_ratios_are_of_metrics() -> None:
    assert all(name == m.name for name, m in FRAME_METRICS.items())
    assert all({r.over, r.under} <= set(FRAME_METRICS) for r in RATIOS.values())
    assert not set(RATIOS) & set(FRAME_METRICS)


@given(k=st.integers(1, 5), seed=st.integers(0, 1000), constant=st.sampled_from([None, 0.0, 0.5, 1.0]))
@settings(deadline=None, max_examples=15)
def test_every_metric_is_a_float_for_any_frame(k: int, seed: int, constant: float | None) -> None:
    frame = drawn(k, seed)
    if constant is not None:
        frame = replace(frame, truth=np.full_like(frame.truth, constant), drawn=np.full_like(frame.drawn, constant))
    values = measure(frame)
    assert set(values) == {name for name, m in FRAME_METRICS.items() if m.least <= k}
    assert all(type(v) is float and not np.isinf(v) for v in values.values())


def test_without_anatomy_its_metrics_are_nan() -> None:
    bare = replace(drawn(2), label=None, truth_segment=None, segments=None)
    assert set(measure(bare)) == set(measure(drawn(2)))
    assert np.isnan(measure(bare)["psnr-heart"])


def test_known_pixels_are_of_no_account_but_to_what_judges_them() -> None:
    frame = drawn(3)
    other = replace(frame, drawn=np.where(frame.known, 0.5, frame.drawn).astype(np.float32))
    before, after = measure(frame), measure(other)
    assert {n for n in before if before[n] != pytest.approx(after[n], nan_ok=True)} == {
        "psnr-known-drawn",
        "rmse-known-drawn",
    }


def test_the_order_of_samples_matters_to_averages_alone() -> None:
    frame = drawn(4)
    turned = replace(frame, drawn=frame.drawn[::-1], segments=None if frame.segments is None else frame.segments[::-1])
    before, after = measure(frame), measure(turned)
    assert all("average" in n for n in before if before[n] != pytest.approx(after[n], nan_ok=True))


@pytest.mark.parametrize(
    "change",
    [
        {"known": np.ones((8, 8), dtype=bool)},
        {"known": np.ones((96, 96))},
        {"drawn": np.ones((0, 96, 96))},
        {"drawn": np.ones((96, 96))},
        {"segments": np.ones((1, 96, 96), dtype=np.uint8)},
        {"label": np.ones((5, 5), dtype=np.uint8)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_shapes_must_agree(change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="shape-mismatch"):
        measure(replace(drawn(2), **change))


@pytest.mark.parametrize("name", ["truth", "drawn"])
def test_what_is_not_a_number_is_refused(name: str) -> None:
    frame = drawn(2)
    getattr(frame, name)[..., 3, 3] = np.nan
    with pytest.raises(DataError, match="nonfinite"):
        measure(frame)


def test_the_table_does_not_import_torch() -> None:
    code = "import sys, cmrgz.evaluation.metrics as m; assert m.FRAME_METRICS and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
