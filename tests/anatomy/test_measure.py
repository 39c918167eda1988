"""Intervals of draws, what the segmenter is shown, and the quantities of one cine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmrgz.anatomy.function import UNITS, areas, biomarkers, function_of
from cmrgz.anatomy.measure import interval, share_of
from cmrgz.anatomy.segmenter import Segmenter
from cmrgz.anatomy.view import SIDE, View
from cmrgz.data.cines import crop, read_cine
from cmrgz.data.importers.case import make_case
from cmrgz.data.phantom import Phantom
from cmrgz.data.scan import Scan, load, save

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize(("draws", "share"), [(1, 0), (2, 1 / 3), (4, 0.6), (9, 0.8), (19, 0.8)])
def test_an_interval_holds_one_more_draw_as_often_as_it_says(draws: int, share: float) -> None:
    assert share_of(draws) == pytest.approx(share)
    rng = np.random.default_rng(0)
    values = rng.standard_exponential((4000, draws + 1))
    ends = np.array([interval(row[:-1]) for row in values])
    inside = (ends[:, 0] < values[:, -1]) & (values[:, -1] < ends[:, 1])
    assert inside.mean() == pytest.approx(share, abs=0.025)


def test_of_what_is_not_known_there_is_no_interval() -> None:
    assert np.isnan(interval(np.array([1.0, np.nan]))).all()


def test_one_cine_is_measured_as_truth_and_result_are() -> None:
    phantom = Phantom(3, size=64, spacing=2.8, dz=20.0, ss=1, nsub=1, fit_rv=False)
    cine = areas(phantom.cine(6)[1], 2.8**2)
    found, (ed, es) = function_of(cine, 20.0)
    assert found == pytest.approx(biomarkers(cine, cine, 20.0)[0]) and ed == 0 and 1 <= es <= 3
    cine[1:] = np.nan
    one, _ = function_of(cine, 20.0)
    assert {name for name in UNITS if np.isfinite(one[name])} == {"LVEDV", "RVEDV", "LVM_ED"}
    assert one["LVEDV"] == found["LVEDV"]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("edge", [1.4, 0.9])
def test_the_segmenter_sees_what_an_evaluation_shows_it(tmp_path: Path, turned: bool, edge: float) -> None:
    """In the reader's view, at its pixel size, about the heart; planes of any size, stored in any way."""
    scan = load(EXAMPLES / "phantom.nii.gz")
    stored = scan.stored[::3, 2:4, 8:-8]
    stored = np.ascontiguousarray(stored.swapaxes(2, 3)) if turned else stored
    made = replace(Scan.blank(stored.shape, (10.0, edge, edge), 0.04), stored=stored.astype(np.int16))
    affine = made.geometry.affine[:, [1, 0, 2, 3]] if turned else made.geometry.affine
    geometry = replace(made.geometry, affine=affine, sform=affine[:3], qform_code=0)
    save(tmp_path / "a.nii.gz", replace(made, geometry=geometry))
    cine = read_cine(make_case(tmp_path, tmp_path / "a.nii.gz", "a"))
    expected = (crop(cine.frames, cine.corner((SIDE, SIDE)), (SIDE, SIDE), -1.0).astype(np.float32) + 1) / 2
    read = load(tmp_path / "a.nii.gz")
    view = View.of(read, np.ones(read.shape, dtype=bool))
    for t, z in np.ndindex(read.shape[:2]):
        assert np.allclose(view.shown(read.plane(t, z)), expected[t, z], atol=1e-3)
    assert view.pixel == pytest.approx(cine.spacing[1] * cine.spacing[2])


def test_what_is_hidden_does_not_tell_how_a_scan_is_shown() -> None:
    scan = load(EXAMPLES / "phantom.nii.gz")
    known = np.random.default_rng(0).random(scan.shape) < 0.5
    other = replace(scan, stored=np.where(known, scan.stored, 3000).astype(scan.stored.dtype))
    first, second = View.of(scan, known), View.of(other, known)
    assert first.scale == second.scale and first.window.centre == second.window.centre


def test_a_slice_that_pads_a_stack_has_no_volume() -> None:
    """The network sees a ventricle in a plane of one value: such a plane is never asked about."""
    scan = load(EXAMPLES / "phantom.nii.gz")
    stored = scan.stored.copy()
    stored[:, 0] = 0
    padded = replace(scan, stored=stored)
    view = View.of(padded, np.ones(padded.shape, dtype=bool))
    segmenter = Segmenter.open()
    assert not view.labels(segmenter, padded.planes, [(0, 0)])[0, 0].any()
