"""Whole scans are segmented on their grid, and what was asked of a cohort stands beside what was measured."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cmrgz.anatomy.cohort import Measuring, describe, manifest
from cmrgz.anatomy.segmenter import Segmenter
from cmrgz.anatomy.view import segment_scan
from cmrgz.data.intensity import Scale
from cmrgz.data.phantom.render import Phantom, label_truth
from cmrgz.data.planes import Planes
from cmrgz.data.scan import Scan
from cmrgz.scans.files import Names
from cmrgz.scans.generate import Made, Request

PHASES = 3


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.open()


@pytest.fixture(scope="module")
def heart() -> tuple[Scan, Any, Any]:
    """Return the grid, the voxels in [0, 1] and the labels of two slices of a phantom."""
    phantom = Phantom(2, size=128, spacing=1.4, nsub=1, fit_rv=False)
    images, labels = phantom.cine(PHASES, phantom.heights()[3:5])
    unit = (Scale.fit(images, np.ones(images.shape, bool)).to_unit(images) + 1) / 2
    return Scan.blank(images.shape, (10.0, 1.4, 1.4), 0.05), unit, labels


def dice(found: Any, labels: Any) -> float:
    a, b = found == 3, labels == 3
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_a_scan_is_segmented_on_its_grid(segmenter: Segmenter, heart: tuple[Scan, Any, Any]) -> None:
    scan, unit, labels = heart
    found = segment_scan(segmenter, scan, unit)
    assert found.shape == labels.shape and found.dtype == np.uint8
    assert dice(found, labels) > 0.85


def test_how_a_scan_is_stored_does_not_matter(segmenter: Segmenter, heart: tuple[Scan, Any, Any]) -> None:
    """Turned planes give turned labels, to the bit; finer pixels the same heart."""
    scan, unit, labels = heart
    found = segment_scan(segmenter, scan, unit)
    turn = np.diag([1.0, 1.0, 1.0, 1.0])[[1, 0, 2, 3]]  # columns stored as rows
    geometry = dataclasses.replace(scan.geometry, affine=scan.geometry.affine @ turn)
    turned = dataclasses.replace(scan, stored=scan.stored.swapaxes(-1, -2), geometry=geometry)
    other = segment_scan(segmenter, turned, unit.swapaxes(-1, -2))
    assert np.array_equal(other.swapaxes(-1, -2), found)
    fine = Scan.blank((PHASES, 2, 256, 256), (10.0, 0.7, 0.7), 0.05)
    twice = segment_scan(segmenter, fine, unit.repeat(2, -1).repeat(2, -2))
    assert dice(twice, labels.repeat(2, -1).repeat(2, -2)) > 0.85


def test_volumes_are_those_of_the_labels(segmenter: Segmenter, heart: tuple[Scan, Any, Any]) -> None:
    scan, unit, labels = heart
    values = Planes(scan.shape, np.dtype(np.float32), lambda t, z: unit[t, z] * 200)
    found, measured = Measuring(segmenter)(scan, values, Scale(0.0, 200.0))
    truth = label_truth(labels, 1.4, 10.0, int((labels == 3).sum((1, 2, 3)).argmin()))
    own = label_truth(found, 1.4, 10.0, int((found == 3).sum((1, 2, 3)).argmin()))
    edv, ef = measured["LVEDV"], measured["LVEF"]
    assert edv is not None and ef is not None
    assert edv == pytest.approx(own["LVEDV"]) and edv == pytest.approx(truth["LVEDV"], rel=0.2)
    assert ef == pytest.approx(own["LVEF"]) and ef == pytest.approx(truth["LVEF"], abs=0.1)


def test_a_scan_without_a_heart_has_no_ejection_fraction(segmenter: Segmenter, heart: tuple[Scan, Any, Any]) -> None:
    scan = heart[0]
    values = Planes(scan.shape, np.dtype(np.float32), lambda t, z: np.zeros((128, 128), np.float32))
    labels, measured = Measuring(segmenter)(scan, values, Scale(0.0, 255.0))
    assert labels.shape == scan.shape and measured["LVEF"] is None
    single = Scan.blank((1, 2, 128, 128), (10.0, 1.4, 1.4))
    alone = dataclasses.replace(values, shape=single.shape)
    assert set(Measuring(segmenter)(single, alone, Scale(0.0, 255.0))[1].values()) == {None}


# ---------------------------------------------------------------------- asked and measured
def made(number: int, gain: float = 0.8, heart: bool = True) -> list[Made]:
    """Return scans of which ejection fractions are measured too low, in proportion."""
    scans = []
    for n in range(number):
        asked = {"ef": 0.2 + 0.5 * n / max(number - 1, 1), "group": ("DCM", "NOR")[n % 2]}
        ef = gain * asked["ef"] if heart else None
        measured = {"LVEDV": 100.0 + n, "LVESV": 60.0, "LVEF": ef}
        names = Names(Path(f"c/generated-{n + 1:04d}.nii.gz"), labels=True)
        scans.append(Made(names, {"condition": asked, "measured": measured}))
    return scans


def order(phases: int = 20, slices: int = 9) -> Request:
    meta: Any = SimpleNamespace(name="m", sha256="0" * 64, extent=SimpleNamespace(plane=(128, 128)))
    return Request(chosen=SimpleNamespace(meta=meta), phases=phases, slices=slices)  # type: ignore[arg-type]


def test_asked_and_measured_stand_side_by_side() -> None:
    facts = describe(order(), made(40))
    own = facts["asked_and_measured"]["ef"]
    assert own["r"] == pytest.approx(1) and own["slope"] == pytest.approx(0.8) and own["n"] == 40
    assert own["bias"] == pytest.approx(-0.2 * 0.45) and own["mae"] == pytest.approx(0.2 * 0.45)
    assert facts["measured"]["LVEDV"] == {"n": 40, "mean": 119.5, "sd": pytest.approx(11.69, abs=0.01)}
    assert facts["by"]["group"]["DCM"]["LVEF"]["n"] == 20 and facts["warnings"] == {}
    assert "edv" not in facts["asked_and_measured"]  # it was not asked for


def test_what_limits_the_figures_is_said() -> None:
    assert describe(order(), made(8))["warnings"].keys() == {"few-scans"}
    assert describe(order(phases=6), made(40))["warnings"].keys() == {"few-phases"}
    lost = describe(order(), made(40, heart=False))
    assert lost["warnings"].keys() == {"few-scans", "no-heart"} and lost["asked_and_measured"]["ef"]["r"] is None
    tall = [dataclasses.replace(m, facts={**m.facts, "condition": {"edv": 90.0 + n}}) for n, m in enumerate(made(40))]
    assert describe(order(slices=3), tall)["warnings"].keys() == {"few-slices"}
    same = describe(order(), made(1))
    assert same["asked_and_measured"] == {} and same["measured"]["LVEF"]["sd"] is None


def test_a_manifest_has_a_row_a_scan() -> None:
    lines = manifest(made(2)).decode().splitlines()
    assert lines[0] == "image,subject,label,ef,group,measured_lvedv,measured_lvesv,measured_lvef"
    assert lines[1] == "generated-0001.nii.gz,generated-0001,generated-0001_labels.nii.gz,0.2,DCM,100,60,0.16"
    assert manifest(made(1, heart=False)).decode().splitlines()[1].endswith(",100,60,")
