"""`cmrgz inpaint` of many scans: names that collide, a batch that goes on, masks of a manifest, where the heart is."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cmrgz.data.masks import parse
from cmrgz.data.scan import Scan, load, save

Run = Callable[..., tuple[int, str, str]]
SHAPE = (2, 1, 32, 32)


@pytest.fixture
def run(run: Run) -> Run:
    """Return a function that runs `cmrgz inpaint`."""
    return partial(run, "inpaint")


def write(*names: str, label: bool = False, version: int = 1) -> None:
    blank = Scan.blank(SHAPE, (10.0, 1.4, 1.4))
    scan = replace(blank, geometry=replace(blank.geometry, version=version))
    for number, name in enumerate(names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        if label:
            voxels = np.zeros(SHAPE, np.uint8)
            voxels[..., 4:10, 20:28] = 2
        else:
            voxels = np.random.default_rng(number).integers(0, 900, SHAPE, np.int16)
        save(name, scan, voxels)


def made() -> list[str]:
    return sorted(path.as_posix() for path in Path().rglob("*_inpainted.nii.gz"))


# ---------------------------------------------------------------------- names
def test_names_that_collide_keep_their_folders(run: Run) -> None:
    write("set/1000001/sa.nii.gz", "set/1000002/sa.nii.gz")
    code, out, err = run("set/*/sa.nii.gz", "--mask", "0.5", "-o", "out")
    assert code == 0, err
    assert out.splitlines() == made() == [f"out/100000{k}/sa_inpainted.nii.gz" for k in (1, 2)]
    code, out, _ = run("set", "--mask", "0.5")
    assert (code, out.splitlines()) == (0, [f"inpainted/100000{k}/sa_inpainted.nii.gz" for k in (1, 2)])


def test_names_that_do_not_collide_stand_side_by_side(run: Run) -> None:
    write("set/x/a.nii.gz", "set/y/b.nii.gz")
    code, out, err = run("set/x/a.nii.gz", "set/y/b.nii.gz", "--mask", "0.5", "-o", "out")
    assert (code, out.splitlines()) == (0, ["out/a_inpainted.nii.gz", "out/b_inpainted.nii.gz"]), err


def test_the_parent_of_the_output_must_be_there_even_so(run: Run) -> None:
    write("set/1/sa.nii.gz", "set/2/sa.nii.gz")
    code, _, err = run("set", "--mask", "0.5", "-o", "no/out")
    assert code == 6 and "its parent is not there" in err and not Path("no").exists()


def test_a_label_map_of_a_list_is_no_scan(run: Run) -> None:
    write("X1_cine.nii.gz", "X2_cine.nii.gz")
    write("X1_label.nii.gz", "X2_label.nii.gz", label=True)
    code, out, _ = run("X1_cine.nii.gz", "X1_label.nii.gz", "X2_cine.nii.gz", "X2_label.nii.gz", "--mask", "0.5")
    assert (code, len(out.splitlines())) == (0, 2)
    code, again, _ = run("X*.nii.gz", "--mask", "0.5", "--overwrite")
    assert (code, again) == (0, out)


def test_results_are_no_scans_of_a_pattern_around_them(run: Run) -> None:
    write("set/1/sa.nii.gz", "set/2/sa.nii.gz")
    run("set", "--mask", "0.5", "-o", "set/out")
    code, out, err = run("set/**/*.nii.gz", "--mask", "0.5", "-o", "set/out", "--overwrite")
    assert (code, len(out.splitlines())) == (0, 2), err


# ---------------------------------------------------------------------- going on
def test_a_half_done_batch_goes_on(run: Run) -> None:
    write("set/a.nii.gz", "set/b.nii.gz", "set/c.nii.gz")
    args = ("set", "--mask", "0.5", "-o", "out", "--samples", 2)
    assert run(*args)[0] == 0
    whole = {path: path.read_bytes() for path in Path("out").iterdir()}
    for path in Path("out").glob("c_*"):
        path.unlink()
    Path("out/b_inpainted.json").unlink()  # killed before it was written, which is last
    code, out, err = run(*args, "--skip-existing")
    assert (code, out.splitlines()) == (0, ["out/b_inpainted.nii.gz", "out/c_inpainted.nii.gz"]), err
    assert "info[skipped]: out/a_inpainted.nii.gz" in err
    assert {path for path, data in whole.items() if path.read_bytes() != data and path.suffix != ".json"} == set()
    code, out, err = run(*args, "--skip-existing", "--json")
    assert code == 0 and len(json.loads(out)["skipped"]) == 3 and json.loads(out)["outputs"] == []


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_half_done_result_of_nifti_2_is_made_again(run: Run, ending: str) -> None:
    write("a.nii", version=2)
    args = ("a.nii", "--mask", "0.5", "-o", f"a_inpainted{ending}")
    assert run(*args)[0] == 0
    Path("a_inpainted.json").unlink()
    code, out, err = run(*args, "--skip-existing")
    assert (code, out.splitlines()) == (0, [f"a_inpainted{ending}"]), err


def test_results_that_were_made_otherwise_are_not_mixed_in(run: Run) -> None:
    write("set/a.nii.gz", "set/b.nii.gz")
    run("set", "--mask", "0.5", "-o", "out")
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    for other, name in (
        (("--seed", "1", "--mask", "0.5"), "seed"),
        (("--mask", "0.6"), "mask"),
        (("--mask", "0.5", "--set", "temperature=0.5"), "sampling"),
    ):
        code, _, err = run("set", *other, "-o", "out", "--skip-existing")
        assert code == 2 and "config-mismatch]: out/a_inpainted.json: tells of a result that was made with" in err
        assert name in err and {path: path.read_bytes() for path in Path("out").iterdir()} == before
    code, out, _ = run("set", "--mask", "0.6", "-o", "out", "--skip-existing", "--overwrite")
    assert (code, len(out.splitlines())) == (0, 2)


def test_a_scan_that_changed_is_told(run: Run) -> None:
    write("set/a.nii.gz", "set/b.nii.gz")
    run("set", "--mask", "0.5", "-o", "out")
    write("new/b.nii.gz")
    Path("new/b.nii.gz").replace("set/b.nii.gz")
    code, _, err = run("set", "--mask", "0.5", "-o", "out", "--skip-existing")
    assert code == 2 and "out/b_inpainted.json" in err and "another input" in err


def test_a_file_of_somebody_else_is_not_replaced(run: Run) -> None:
    write("set/a.nii.gz", "set/b.nii.gz")
    Path("out").mkdir()
    for data in (Path("set/a.nii.gz").read_bytes(), b"text", gzip.compress(b"cmrgz synthetic")):
        Path("out/a_inpainted.nii.gz").write_bytes(data)
        code, _, err = run("set", "--mask", "0.5", "-o", "out", "--skip-existing")
        assert code == 2 and "error[exists]" in err
        assert Path("out/a_inpainted.nii.gz").read_bytes() == data


# ---------------------------------------------------------------------- masks of a manifest
def test_masks_of_a_manifest(run: Run) -> None:
    write("a.nii.gz", "b.nii.gz")
    scan, known = load("a.nii.gz"), {}
    for seed, name in enumerate("ab"):
        known[name] = parse("0.4").draw(SHAPE, seed=seed)
        save(f"{name}_hole.nii.gz", scan, (~known[name]).astype(np.uint8))
    Path("m.csv").write_text("image,mask\na.nii.gz,a_hole.nii.gz\nb.nii.gz,b_hole.nii.gz\n")
    code, _, err = run("m.csv", "-o", "out")
    assert code == 0, err
    for name, given in known.items():
        before, after = load(f"{name}.nii.gz").stored, load(f"out/{name}_inpainted.nii.gz").stored
        assert np.array_equal(before[given], after[given]) and not np.array_equal(before, after)
    code, _, err = run("m.csv", "-o", "out", "--skip-existing")
    assert code == 0 and err.count("info[skipped]") == 2
    code, _, err = run("m.csv", "-o", "other", "--mask", "0.9")
    assert code == 0 and err.count("the ratio is the fraction hidden") == 2  # the option wins


def test_a_manifest_without_all_masks_needs_the_option(run: Run) -> None:
    write("a.nii.gz", "b.nii.gz")
    save("hole.nii.gz", load("a.nii.gz"), parse("0.4").draw(SHAPE, seed=0).astype(np.uint8))
    Path("m.csv").write_text("image,mask\na.nii.gz,hole.nii.gz\nb.nii.gz,\n")
    code, _, err = run("m.csv")
    assert code == 2 and "option --mask: is missing" in err and "column mask" in err


def test_a_mask_is_not_written_over(run: Run) -> None:
    write("a.nii.gz")
    save("a_inpainted.nii.gz", load("a.nii.gz"), parse("0.4").draw(SHAPE, seed=0).astype(np.uint8))
    Path("m.csv").write_text("image,mask\na.nii.gz,a_inpainted.nii.gz\n")
    code, _, err = run("m.csv", "--overwrite")
    assert code == 2 and "error[overwrite-input]" in err


# ---------------------------------------------------------------------- the heart
@pytest.mark.parametrize("name", ["X_cine.nii.gz", "set/1000001/sa.nii.gz"])
def test_the_heart_is_where_the_label_map_says(run: Run, name: str) -> None:
    write(name)
    label = {"X_cine.nii.gz": "X_label.nii.gz"}.get(name, "set/1000001/label_sa_ES.nii.gz")
    write(label, label=True)
    code, _, err = run(name, "--mask", "heart:0.25", "-o", "out.nii.gz")
    assert code == 0 and "guessed-heart" not in err, err
    drawn = load("out.nii.gz").stored != load(name).stored
    rows, columns = np.nonzero(drawn.any((0, 1)))
    assert rows.max() < 16 and columns.min() >= 16  # the quarter that holds it


def test_a_guess_is_told(run: Run) -> None:
    write("a.nii.gz")
    code, _, err = run("a.nii.gz", "--mask", "heart:0.25")
    assert code == 0 and "warning[guessed-heart]: a.nii.gz: has no label map" in err
    assert "guessed-heart" not in run("a.nii.gz", "--mask", "0.5", "--overwrite")[2]


def test_a_label_map_of_another_plane_is_refused(run: Run) -> None:
    write("X_cine.nii.gz")
    other = Scan.blank((1, 1, 8, 8), (10.0, 1.4, 1.4))
    save("X_label.nii.gz", other, np.ones((1, 1, 8, 8), np.uint8))
    code, _, err = run("X_cine.nii.gz", "--mask", "heart:0.5")
    assert code == 3 and "error[shape-mismatch]" in err
