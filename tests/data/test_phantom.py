"""The phantom: the prototype's bits, the requested volumes, and what every frame must look like."""

import functools
import importlib.util
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cmrgz.data.phantom import GROUPS, Phantom, contraction, label_truth, sample_subject
from cmrgz.data.phantom.heart import HeartPainter
from cmrgz.data.phantom.kinematics import Heart
from cmrgz.data.phantom.signal import bssfp
from cmrgz.errors import UsageError

PROTOTYPE = Path(__file__).resolve().parents[2].parent / "shared" / "reference" / "phantom.py"


def prototype() -> ModuleType:
    """Load the program that rendered the training data of the reference checkpoints."""
    if not PROTOTYPE.exists():
        pytest.skip("the prototype is not here")
    spec = importlib.util.spec_from_file_location("phantom_prototype", PROTOTYPE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


CASES = [
    (0, {"size": 48}),
    (1, {"size": 48, "spacing": 2.0, "fit_rv": False}),
    (2, {"size": 33, "spacing": 4.0, "ss": 3, "nsub": 3, "fit_rv": False}),
    (3, {"size": 48, "nsub": 1, "fit_rv": False}),
    (4, {"size": 48, "realism": False, "fit_rv": False}),
    *((5 + i, {"size": 32, "group": g, "fit_rv": False}) for i, g in enumerate(GROUPS)),
]


@pytest.mark.parametrize(("seed", "settings"), CASES)
def test_same_bits_as_the_prototype(seed: int, settings: dict[str, object]) -> None:
    old, new = prototype().Phantom(seed, **settings), Phantom(seed, **settings)  # type: ignore[arg-type]
    assert np.array_equal(old.slices(), new.heights())
    for z in old.slices()[::3]:
        for t in (0.0, 1 / 3):
            image, label = old.frame(z, t)
            assert np.array_equal(image, new.frame(z, t)[0])
            assert np.array_equal(label, new.frame(z, t)[1])


def test_same_truth_as_the_prototype() -> None:
    module = prototype()
    old, new = module.Phantom(7, size=32), Phantom(7, size=32)
    assert old.truth() == new.truth()
    images, labels = new.cine(3, new.heights()[2:5])
    expected = module.label_truth(labels.transpose(1, 0, 2, 3), new.spacing, new.dz, 1)
    assert label_truth(labels, new.spacing, new.dz, 1) == expected


STORED = [  # made with the prototype: pixels of each label, mean and standard deviation of the image
    (0, {}, [3741, 184, 75, 96], 197.092, 189.6056),
    (1, {"realism": False}, [3737, 174, 105, 80], 118.1411, 131.4677),
    (29, {"group": "MINF"}, [3749, 137, 58, 152], 199.343, 229.3265),
]


@pytest.mark.parametrize(("seed", "settings", "pixels", "mean", "std"), STORED)
def test_stored_frames(seed: int, settings: dict[str, object], pixels: list[int], mean: float, std: float) -> None:
    phantom = Phantom(seed, size=64, fit_rv=False, **settings)  # type: ignore[arg-type]
    image, label = phantom.frame(phantom.heights()[4], 0.25)
    # Another processor may round a border pixel to the other side.
    assert np.abs(np.bincount(label.ravel(), minlength=4) - pixels).max() <= 2
    assert image.mean() == pytest.approx(mean, rel=1e-4) and image.std() == pytest.approx(std, rel=1e-4)


@pytest.mark.parametrize("group", GROUPS)
def test_volumes_are_those_requested(group: str) -> None:
    phantom = Phantom(100 + list(GROUPS).index(group), group, size=16)
    subject, truth = phantom.subject, phantom.truth()
    assert truth["RVEDV"] == pytest.approx(subject.rv_edv, abs=0.6)
    assert truth["RVEF"] == pytest.approx(subject.rv_ef, abs=0.012)
    if group == "MINF":  # the akinetic sector moves the volumes: the quadrature value is the truth
        assert 0 < truth["LVEDV"] - subject.edv < 9
        assert -0.035 < truth["LVEF"] - subject.ef < 0
        return
    assert truth["LVEDV"] == pytest.approx(subject.edv, rel=2e-4)
    assert truth["LVEF"] == pytest.approx(subject.ef, abs=1e-3)
    assert truth["LVM_ED"] == pytest.approx(subject.mass, abs=0.15)
    assert truth["LVM_ED"] == pytest.approx(truth["LVM_ES"], abs=0.3)


def test_label_volumes_are_near_the_continuum() -> None:
    phantom = Phantom(8, "NOR", size=96)
    _, labels = phantom.cine(2)
    found, truth = label_truth(labels, phantom.spacing, phantom.dz, 1), phantom.truth()
    assert found["LVEDV"] == pytest.approx(truth["LVEDV"], abs=9)
    assert found["LVM_ED"] == pytest.approx(truth["LVM_ED"], abs=9)
    assert found["RVEDV"] == pytest.approx(truth["RVEDV"], abs=15)
    assert found["LVESV"] < found["LVEDV"] and found["es_frame"] == 1


def test_label_truth_of_no_cavity_is_not_a_number() -> None:
    assert np.isnan(label_truth(np.zeros((1, 1, 4, 4), np.uint8), 1.0, 10.0, 0)["LVEF"])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**40))
def test_diseases_differ_as_they_must(seed: int) -> None:
    dcm, hcm, minf, rv, nor = (sample_subject(seed, g) for g in ("DCM", "HCM", "MINF", "RV", "NOR"))
    assert dcm.ef <= 0.40 and dcm.edv > nor.edv and dcm.shortening < nor.shortening
    assert hcm.ef >= 0.58 and hcm.mass > nor.mass and hcm.septal > 0 and hcm.edv < nor.edv
    assert minf.ef <= 0.42 and minf.infarct is not None and nor.infarct is None
    assert rv.rv_ef <= 0.45 and rv.rv_edv > nor.rv_edv and rv.ef == nor.ef
    assert 0.48 <= nor.ef <= 0.72


def test_groups_are_drawn_at_their_rates() -> None:
    drawn = [sample_subject(seed).group for seed in range(600)]
    for group, rate in GROUPS.items():
        assert drawn.count(group) / 600 == pytest.approx(rate, abs=0.06)


@pytest.mark.parametrize("realism", [True, False])
def test_frames_do_not_depend_on_the_order_of_calls(realism: bool) -> None:
    first = Phantom(11, size=40, fit_rv=False, realism=realism)
    second = Phantom(11, size=40, fit_rv=False, realism=realism)
    images, labels = first.cine(2, first.heights()[3:5])
    for slice_ in (1, 0):
        for frame in (1, 0):
            image, label = second.frame(first.heights()[3 + slice_], frame / 2)
            assert np.array_equal(image, images[frame, slice_])
            assert np.array_equal(label, labels[frame, slice_])


def test_noise_seed_changes_the_noise_alone() -> None:
    phantom = Phantom(12, size=40, fit_rv=False)
    z = phantom.heights()[4]
    (a, label_a), (b, label_b) = phantom.frame(z, 0.1), phantom.frame(z, 0.1, noise_seed=1)
    assert not np.array_equal(a, b) and np.array_equal(label_a, label_b)


@pytest.mark.parametrize("group", GROUPS)
def test_myocardium_encloses_the_cavity(group: str) -> None:
    phantom = Phantom(21, group, size=96, fit_rv=False)
    assert set(np.unique(phantom.cine(2, phantom.heights()[2:6])[1])) == {0, 1, 2, 3}
    for z in phantom.heights()[3:6]:
        _, label = phantom.frame(z, 0.3)
        cavity = label == 3
        rim = ndimage.binary_dilation(cavity) & ~cavity
        assert cavity.sum() > 20
        assert np.mean(label[rim] == 2) > (0.95 if group == "MINF" else 0.99)
        assert ndimage.label(cavity)[1] == 1


def test_blood_is_brighter_than_myocardium() -> None:
    phantom = Phantom(22, "NOR", size=96, fit_rv=False)
    image, label = phantom.frame(phantom.heights()[4], 0.0)
    ratio = np.median(image[label == 3]) / np.median(image[label == 2])
    assert 2 < ratio < 6


def test_lite_does_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """It paints a slice once and fits nothing."""
    done: list[str] = []
    for owner, name in ((HeartPainter, "paint"), (Heart, "_fit_rv")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name), done))

    def work(**lite: object) -> list[str]:
        done.clear()
        phantom = Phantom(23, size=64, **lite)  # type: ignore[arg-type]
        phantom.cine(3, phantom.heights()[3:5])
        return sorted(done)

    assert work(nsub=1, fit_rv=False) == ["paint"] * 3 * 2
    assert work() == ["_fit_rv"] + ["paint"] * 3 * 2 * 2


def counted(function: Callable[..., Any], done: list[str]) -> Callable[..., Any]:
    """Return a function that also notes that it ran."""

    @functools.wraps(function)
    def noting(*arguments: Any, **options: Any) -> Any:
        done.append(function.__name__)
        return function(*arguments, **options)

    return noting


@settings(deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.floats(45, 100))
def test_contraction_is_a_periodic_fraction(t: float, hr: float) -> None:
    assert -1e-9 <= contraction(t, hr) <= 1 + 1e-9
    assert contraction(t + 1, hr) == pytest.approx(contraction(t, hr), abs=1e-9)


def test_contraction_rises_to_end_systole_and_ends_at_rest() -> None:
    curve = contraction(np.linspace(0, 1, 401))
    peak = int(np.argmax(curve))
    assert all(b >= a for a, b in pairwise(curve[: peak + 1]))
    assert curve[0] == curve[-1] == 0 and curve[peak] == pytest.approx(1)


def test_bssfp_matches_the_balanced_limit() -> None:
    # For TR << T1, T2 the pass-band signal is M0 sin a / (1 + cos a + (1 - cos a) T1 / T2) exp(-TE / T2).
    a, t1, t2 = np.deg2rad(60), 1000.0, 50.0
    limit = np.sin(a) / (1 + np.cos(a) + (1 - np.cos(a)) * t1 / t2)
    assert bssfp(1, t1, t2, 1e-3, 0, 60) == pytest.approx(limit, rel=1e-3)
    assert bssfp(1, t1, t2, 3, 0, 60, 1 / (2 * 3e-3)) < 0.2 * bssfp(1, t1, t2, 3, 0, 60)


@pytest.mark.parametrize("wrong", [{"group": "DMC"}, {"size": 4}, {"spacing": -1.0}, {"nsub": 0}, {"seed": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        Phantom(**{"seed": 0} | wrong)  # type: ignore[arg-type]
    assert caught.value.code == "range"


def test_unknown_group_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'MINF'"):
        sample_subject(0, "MIFN")


def test_no_phases_are_refused() -> None:
    with pytest.raises(UsageError, match="phases"):
        Phantom(0, size=16, fit_rv=False).cine(0)
