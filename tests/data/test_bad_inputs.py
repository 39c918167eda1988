"""The collection of bad inputs: each file is refused with its code, or read with the right numbers and warnings."""

import gzip
import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmrgz.data.nifti.reader import read, read_header
from cmrgz.data.scan import load, load_known, save
from cmrgz.errors import MAX_LINE, CmrgzError, CmrgzWarning, DataError

SCRIPT = Path(__file__).resolve().parents[2].parent / "shared" / "bad_inputs" / "make_bad_inputs.py"


def entries(folder: Path, *kinds: str, expect: str = "") -> list[dict[str, Any]]:
    found = json.loads((folder / "manifest.json").read_text())["entries"]
    chosen = [e for e in found if e["kind"] in kinds and e["expect"] in (expect or e["expect"])]
    assert len(chosen) > 1
    return chosen


def listing(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def _load(folder: Path, entry: dict[str, Any]) -> Any:
    if entry["kind"] == "pair":
        return load_known(folder / entry["file"], load(folder / entry["image"]), "hidden")
    return load(folder / entry["file"])


def test_bad_files_are_refused_with_their_code(bad_inputs: Path) -> None:
    before = listing(bad_inputs)
    for entry in entries(bad_inputs, "nifti", "pair", "special", expect="refuse"):
        with pytest.raises(DataError) as caught:
            _load(bad_inputs, entry)
        assert (entry["file"], caught.value.code) == (entry["file"], entry["reason"])
        assert caught.value.hint
        assert len(caught.value.line) <= MAX_LINE and "\n" not in caught.value.line
    assert listing(bad_inputs) == before


def test_good_files_are_read_with_the_right_numbers(bad_inputs: Path) -> None:
    for entry in entries(bad_inputs, "nifti", expect="accept"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scan = load(bad_inputs / entry["file"])
        codes = [w.message.code for w in caught if isinstance(w.message, CmrgzWarning)]
        assert len(codes) == len(caught)
        assert (entry["file"], codes) == (entry["file"], [entry["warn"]] if entry["warn"] else [])
        check, voxels = entry["check"], scan.voxels
        assert (*check["shape"], 1, 1)[:4] == scan.shape[::-1]
        assert np.ravel(voxels)[[0, -1]].tolist() == [
            check.get("first", voxels.flat[0]),
            check.get("last", voxels.flat[-1]),
        ]
        if "spacing" in check:
            assert scan.spacing == pytest.approx(check["spacing"][::-1], rel=1e-6)
        if "dt" in check:
            assert scan.geometry.frame_time == pytest.approx(check["dt"])


def test_good_mask_hides_its_ones(bad_inputs: Path) -> None:
    (entry,) = (e for e in entries(bad_inputs, "pair") if e["expect"] == "accept")
    known = _load(bad_inputs, entry)
    assert known.shape == (1, 3, 4, 5) and np.argwhere(~known).tolist() == [
        [0, 1, y, x] for y in (1, 2) for x in (1, 2)
    ]


def test_no_identity_leaves(bad_inputs: Path, tmp_path: Path) -> None:
    manifest = json.loads((bad_inputs / "manifest.json").read_text())
    tokens = [t.encode() for t in manifest["phi_tokens"]]
    named = [bad_inputs / e["file"] for e in manifest["entries"] if e.get("phi")]
    assert len(named) >= 2
    for path in named:
        assert any(t in gzip.decompress(path.read_bytes()) for t in tokens)
        with pytest.warns(CmrgzWarning, match="phi") as caught:
            scan = load(path)
        said = "".join(str(w.message) for w in caught)
        for ending in (".nii", ".nii.gz"):
            out = tmp_path / f"{path.name.partition('.')[0]}{ending}"
            save(out, scan, hidden_fraction=0.7)
            raw = out.read_bytes()
            plain = gzip.decompress(raw) if ending == ".nii.gz" else raw
            assert not [t for t in tokens if t in raw + plain + said.encode()]


def fuzz_cases(count: int, seed: int) -> Any:
    if not SCRIPT.exists():
        pytest.skip("the collection of bad inputs is not here")
    spec = importlib.util.spec_from_file_location("make_bad_inputs", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fuzz_cases(count, seed)


def _survives(tmp_path: Path, count: int, seed: int) -> None:
    """Only a CmrgzError may leave the reader; anything that it reads it can write and read again."""
    said: dict[str, int] = {}
    for name, data in fuzz_cases(count, seed):
        path = tmp_path / name
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CmrgzWarning)
            try:
                first = read(path)
            except CmrgzError as error:
                said[error.code] = said.get(error.code, 0) + 1
            else:
                read_header(path)
                save(tmp_path / "again.nii", load(path), overwrite=True)
                again = read(tmp_path / "again.nii")
                assert np.array_equal(first.stored, again.stored)
                assert np.array_equal(first.geometry.affine, again.geometry.affine)
        path.unlink()
    assert 0 < sum(said.values()) < count and len(said) >= 5


def test_mutated_files_raise_nothing_else(tmp_path: Path) -> None:
    _survives(tmp_path, 300, seed=7)


@pytest.mark.exhaustive
def test_ten_thousand_mutated_files_raise_nothing_else(tmp_path: Path) -> None:
    _survives(tmp_path, 10_000, seed=np.random.SeedSequence().entropy % 2**31)  # type: ignore[operator]
