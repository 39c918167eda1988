"""A finer grid: where its planes lie, in space and in the cycle, and that those recorded stay what they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrgz.data.finer import Finer
from cmrgz.data.geometry import Geometry
from cmrgz.data.scan import Scan, load, save
from cmrgz.errors import DataError, UsageError

AFFINE = np.array([[0.2, -1.4, 1.0, 40], [-1.4, 0, 0.4, 30], [0.1, 0, -8.3, 20], [0, 0, 0, 1.0]])


def scan_of(shape: tuple[int, int, int, int], axes: str = "xyzt", step: float = 40.0) -> Scan:
    """Return a scan of noise with an oblique sform, as it lies on disk by these axes."""
    columns = ["xyz".index(letter) if letter in "xyz" else 2 for letter in axes[:3]]
    sform = np.column_stack([AFFINE[:3, columns], AFFINE[:3, 3]])
    edges = {letter: float(np.linalg.norm(AFFINE[:3, i])) for i, letter in enumerate("xyz")} | {"t": step}
    pixdim = tuple(edges[letter] for letter in axes)
    geometry = Geometry(AFFINE, 4, sform, 1, (0.0, 0.0, 0.0), (40.0, 30.0, 20.0), 1, 0, pixdim, 2 | 16, 0, 1, axes)  # type: ignore[arg-type]
    stored = np.random.default_rng(0).integers(1, 999, shape).astype(np.int16)
    return Scan(stored, 0.5, 3.0, geometry)


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(st.integers(2, 6), st.integers(2, 5)),
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    st.booleans(),
    st.sampled_from(["xyzt", "zxyt", "xzyt"]),
)
def test_recorded_planes_keep_their_place(
    counts: tuple[int, int], factors: tuple[int, int], cycle: bool, axes: str
) -> None:
    (t, z), (kt, kz) = counts, factors
    scan = scan_of((t, z, 3, 4), axes)
    known = np.random.default_rng(1).random(scan.shape) < 0.5
    made, given_ = Finer(z=kz, t=kt).refined(scan, known, cycle)
    assert made.shape == (t * kt if cycle else (t - 1) * kt + 1, (z - 1) * kz + 1, 3, 4)
    assert np.array_equal(made.stored[::kt, ::kz][:t], scan.stored)
    assert np.array_equal(given_[::kt, ::kz], known) and given_.sum() == known.sum()
    assert (made.slope, made.inter) == (0.5, 3.0)
    for i in range(z):  # in space
        a, b = (g.affine @ [1, 2, at, 1] for g, at in ((scan.geometry, i), (made.geometry, i * kz)))
        assert np.allclose(a, b)
    assert np.allclose(made.slice_positions[::kz], scan.slice_positions)
    assert np.allclose(made.phases[::kt], scan.phases) and made.phases.max() < 1  # in the cycle
    assert made.geometry.frame_time == pytest.approx(scan.geometry.frame_time / kt)
    assert made.spacing[0] == pytest.approx(scan.spacing[0] / kz) and made.spacing[1:] == scan.spacing[1:]


@pytest.mark.parametrize("axes", ["xyzt", "zxyt"])
def test_a_file_of_it_is_read_as_the_same(tmp_path: Path, axes: str) -> None:
    scan = scan_of((2, 3, 20, 24), axes)
    made, _ = Finer(z=2, t=2).refined(scan, np.ones(scan.shape, dtype=bool), True)
    made = replace(made, stored=made.stored + np.int16(1))  # an empty frame would be told
    save(tmp_path / "a.nii.gz", made)
    read = load(tmp_path / "a.nii.gz", axes=axes)
    assert np.array_equal(read.stored, made.stored)
    assert np.allclose(read.geometry.affine, made.geometry.affine, atol=1e-4)
    assert read.geometry.frame_time == pytest.approx(0.02)


def test_twice_finer_twice_is_four_times_finer() -> None:
    scan = scan_of((3, 3, 4, 4))
    known = np.ones(scan.shape, dtype=bool)
    once, given_ = Finer(2, 2).refined(scan, known, False)
    twice, _ = Finer(2, 2).refined(once, given_, False)
    whole, _ = Finer(4, 4).refined(scan, known, False)
    assert twice.shape == whole.shape and np.allclose(twice.phases, whole.phases) and twice.finer == whole.finer == 4
    assert np.allclose(twice.geometry.affine, whole.geometry.affine)


def test_a_frame_time_that_is_unknown_stays_so() -> None:
    scan = scan_of((3, 3, 4, 4), step=0.0)
    made, _ = Finer(t=2).refined(scan, np.ones(scan.shape, dtype=bool), True)
    assert np.isnan(made.geometry.frame_time) and made.geometry.pixdim[3] == 0


def test_a_long_scan_is_written_as_nifti_2() -> None:
    scan = scan_of((2**13, 1, 1, 1))
    made, _ = Finer(t=4).refined(scan, np.ones(scan.shape, dtype=bool), True)
    assert (scan.geometry.version, made.geometry.version) == (1, 2)


@pytest.mark.parametrize(
    ("shape", "axes", "finer", "said"),
    [
        ((1, 3, 4, 4), "xyzt", Finer(t=2), "one phase"),
        ((3, 1, 4, 4), "xyzt", Finer(z=2), "one slice"),
        ((3, 3, 4, 4), "xytz", Finer(z=2), "on the fourth axis"),
    ],
)
def test_what_has_nothing_between_is_refused(
    shape: tuple[int, int, int, int], axes: str, finer: Finer, said: str
) -> None:
    scan = scan_of(shape, axes)
    with pytest.raises(UsageError, match=said) as caught:
        finer.refined(scan, np.ones(shape, dtype=bool), True)
    assert (caught.value.code, caught.value.where) == ("usage", "option --refine")


def test_slices_too_near_to_one_another_are_refused() -> None:
    scan = scan_of((1, 3, 4, 4))
    thin = scan.geometry.affine * [1, 1, 0.004, 1]
    scan = replace(scan, geometry=replace(scan.geometry, affine=thin))
    with pytest.raises(DataError, match="option --refine"):
        Finer(z=8).refined(scan, np.ones(scan.shape, dtype=bool), False)
