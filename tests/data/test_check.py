"""All bad files of a data set are found at once, each with its reason."""

from pathlib import Path

import numpy as np
import pytest

from cmrgz.data.cases import find
from cmrgz.data.check import check
from cmrgz.data.scan import Scan, save
from cmrgz.errors import CmrgzWarning

SPACING = (10.0, 2.0, 2.0)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Five good scans of two frames with label maps."""
    rng = np.random.default_rng(0)
    for name in "abcde":
        shape = (2, 3, 16, 16)
        scan = Scan.blank(shape, SPACING, 0.04)
        save(tmp_path / f"{name}_cine.nii.gz", scan, rng.integers(0, 900, shape, np.int16))
        save(tmp_path / f"{name}_label.nii.gz", scan, rng.integers(0, 4, shape, np.uint8))
    return tmp_path


def codes(dataset: Path) -> dict[str, str]:
    return {Path(e.where).name: e.code for e in check(find(dataset))}


def label(dataset: Path, shape: tuple[int, int, int, int], spacing: tuple[float, float, float], value: float) -> None:
    """Replace the label map of case a."""
    voxels = np.full(shape, value, np.float32)
    voxels[..., 0] = 0
    save(dataset / "a_label.nii.gz", Scan.blank(shape, spacing), voxels, overwrite=True)


def test_a_good_data_set(dataset: Path) -> None:
    done: list[int] = []
    assert check(find(dataset), done.append) == []
    assert done == [1, 2, 3, 4, 5]


def test_all_bad_files_at_once(dataset: Path) -> None:
    whole = (dataset / "a_cine.nii.gz").read_bytes()
    (dataset / "a_cine.nii.gz").write_bytes(whole[: len(whole) // 2])
    (dataset / "c_cine.nii.gz").write_bytes(whole[:-8] + bytes(4) + whole[-4:])
    (dataset / "d_cine.nii.gz").write_bytes(b"<html>404</html>")
    (dataset / "e_label.nii.gz").write_bytes(b"")
    found = codes(dataset)
    assert list(found) == ["a_cine.nii.gz", "c_cine.nii.gz", "d_cine.nii.gz", "e_label.nii.gz"]
    assert found["a_cine.nii.gz"] == "truncated" and found["c_cine.nii.gz"] == "corrupt"
    assert found["e_label.nii.gz"] == "empty"


@pytest.mark.parametrize(
    ("shape", "spacing", "value", "code"),
    [
        ((1, 3, 16, 16), SPACING, 3, "shape-mismatch"),  # which frame it is, is not known
        ((2, 3, 16, 16), SPACING, 0, None),
        ((2, 3, 16, 15), SPACING, 3, "shape-mismatch"),
        ((3, 3, 16, 16), SPACING, 3, "shape-mismatch"),
        ((2, 3, 16, 16), (10.0, 2.0, 2.5), 3, "grid-mismatch"),
        ((2, 3, 16, 16), SPACING, 0.5, "mask-values"),
        ((2, 3, 16, 16), SPACING, -1, "mask-values"),
    ],
)
def test_labels(
    dataset: Path,
    shape: tuple[int, int, int, int],
    spacing: tuple[float, float, float],
    value: float,
    code: str | None,
) -> None:
    label(dataset, shape, spacing, value)
    assert codes(dataset) == ({} if code is None else {"a_label.nii.gz": code})


def test_frames_that_differ_are_told(dataset: Path) -> None:
    shape = (4, 3, 16, 16)
    (dataset / "a_label.nii.gz").unlink()
    voxels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    save(dataset / "a_cine.nii.gz", Scan.blank(shape, SPACING), voxels, overwrite=True)
    with pytest.warns(CmrgzWarning, match=r"warning\[dims\].*2 \.\. 4"):
        assert check(find(dataset)) == []
