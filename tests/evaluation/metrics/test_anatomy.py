from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, distance_transform_edt
from scipy.spatial.distance import directed_hausdorff

from cmrgz.evaluation.metrics.anatomy import METRICS, outline
from cmrgz.evaluation.metrics.base import Labels, Sampled

LABEL = {"rv": 1, "myo": 2, "lv": 3}


def heart(row: float = 32, column: float = 36, inner: float = 9, outer: float = 14, size: int = 64) -> Labels:
    """Return a left ventricle in its ring, and a right one to the left of it."""
    i, j = np.mgrid[:size, :size]
    to_lv, to_rv = np.hypot(i - row, j - column), np.hypot(i - row, j - column + 18)
    wall = np.where(to_lv < outer, 2, np.where(to_rv < 10, 1, 0))
    return np.where(to_lv < inner, 3, wall).astype(np.uint8)


def found(*segments: Labels, truth: Labels | None = None, label: Labels | None = None) -> dict[str, float]:
    shape = segments[0].shape
    truth = heart(size=shape[0]) if truth is None else truth
    blank = np.zeros((len(segments), *shape))
    frame = Sampled(blank[0], blank[0] > 0, blank, 1.5, label, truth, np.stack(segments))
    return {m.name: m.of(frame) for m in METRICS}


def test_the_truth_agrees_with_itself() -> None:
    values = found(heart(), heart(), label=heart())
    for part in LABEL:
        assert values[f"dice-{part}"] == values[f"dice-{part}-label"] == 1
        assert values[f"hd95-{part}"] == values[f"area-error-{part}"] == 0
        areas = {values[f"area-{part}-{of}"] for of in ("result", "truth", "label")}
        assert areas == {(heart() == LABEL[part]).sum() * 2.25}


def test_dice_by_its_definition_is_the_mean_of_samples() -> None:
    truth, samples = heart(), (heart(column=38), heart(inner=7))
    for part, c in LABEL.items():
        each = [2 * ((s == c) & (truth == c)).sum() / ((s == c).sum() + (truth == c).sum()) for s in samples]
        assert found(*samples)[f"dice-{part}"] == pytest.approx(np.mean(each))


def test_dice_of_squares() -> None:
    """Squares of 8 x 8 pixels, half over one another."""
    truth, sample = np.zeros((2, 32, 32), dtype=np.uint8)
    truth[8:16, 8:16], sample[8:16, 12:20] = 3, 3
    values = found(sample, truth=truth)
    assert values["dice-lv"] == 0.5 and values["hd95-lv"] == 4 * 1.5


def test_outline_is_what_erosion_takes() -> None:
    regions = np.stack([heart() == 3, heart() > 0, np.ones((64, 64), dtype=bool)])
    for region, edge in zip(regions, outline(regions), strict=True):
        np.testing.assert_array_equal(edge, region & ~binary_erosion(region))


def test_hd95_by_distance_maps_and_below_the_hausdorff_distance() -> None:
    truth, sample = heart(), heart(30, 39, 8, 15)
    for part, c in LABEL.items():
        a, b = ((labels == c) & ~binary_erosion(labels == c) for labels in (sample, truth))
        both = [distance_transform_edt(~b)[a], distance_transform_edt(~a)[b]]
        assert found(sample)[f"hd95-{part}"] == pytest.approx(1.5 * max(np.percentile(d, 95) for d in both))
        points: Any = np.argwhere(a), np.argwhere(b)
        farthest = max(directed_hausdorff(*points)[0], directed_hausdorff(*points[::-1])[0])
        assert found(sample)[f"hd95-{part}"] <= 1.5 * farthest


def test_area_errors_have_a_sign() -> None:
    values = found(heart(inner=7), heart(inner=7))
    lost = ((heart() == 3).sum() - (heart(inner=7) == 3).sum()) * 2.25
    assert values["area-error-lv"] == pytest.approx(-lost)
    assert values["area-error-myo"] == pytest.approx(lost)
    assert values["area-error-rv"] == 0


def test_a_lost_part_has_no_overlap_and_no_distance() -> None:
    lost = np.where(heart() == 1, 0, heart()).astype(np.uint8)
    values = found(lost, heart())
    assert values["dice-rv"] == 0.5 and values["hd95-rv"] == 0
    assert np.isnan(found(lost)["hd95-rv"]) and found(lost)["area-rv-result"] == 0


def test_what_lacks_a_part_is_no_reference_for_it() -> None:
    partial = np.where(heart() == 3, 3, 0).astype(np.uint8)
    values = found(heart(), truth=partial, label=partial)
    assert values["dice-lv"] == values["dice-lv-label"] == 1
    assert np.isnan(values["dice-rv"]) and np.isnan(values["dice-rv-label"]) and np.isnan(values["hd95-rv"])
    assert np.isnan(values["area-rv-label"]) and values["area-rv-truth"] == 0 < values["area-error-rv"]


def test_without_a_segmenter_only_the_annotation_has_areas() -> None:
    blank = np.zeros((2, 64, 64))
    frame = Sampled(blank[0], blank[0] > 0, blank, 1.5, heart())
    values = {m.name: m.of(frame) for m in METRICS}
    assert {name for name, value in values.items() if not np.isnan(value)} == {f"area-{p}-label" for p in LABEL}
