"""`cmrgz inpaint` and `cmrgz generate`: files in, files out, one line and no file for whatever is refused."""

import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cmrgz import checkpoint
from cmrgz.cli import main
from cmrgz.data.masks import parse
from cmrgz.data.scan import load, save
from cmrgz.durable import files as durable_files
from cmrgz.durable.system import Faults
from cmrgz.scans import files as outputs

LINE = re.compile(r"cmrgz: error\[([a-z-]+)\]: .+: .+\n")
OBLIQUE = Rotation.from_euler("zx", [20, 10], degrees=True).as_matrix() @ [[0, -1, 0], [-1, 0, 0], [0, 0, -1]]
AFFINE = np.vstack([np.column_stack([OBLIQUE * [1.4, 1.5, 8], [40, 30, 20]]), [0, 0, 0, 1]])

Run = Callable[..., tuple[int, str, str]]


def write_scan(path: Path, shape: tuple[int, ...] = (48, 40, 2, 2), dtype: str = "i2", **header: Any) -> Path:
    """Write a scan (x, y, z, t) of waves, oblique and stored turned."""
    axes = np.meshgrid(*(np.arange(n) / 7 for n in shape), indexing="ij")
    values = 300 + 200 * np.sin(sum(axes)) + 50 * np.cos(3 * axes[0])
    image = nib.Nifti1Image(values.astype(dtype), AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 3, strip_shears=True)
    image.header.set_xyzt_units("mm", "msec")
    if len(shape) > 3:
        image.header["pixdim"][4] = 40
    for name, value in header.items():
        image.header[name] = value
    path.parent.mkdir(exist_ok=True, parents=True)
    nib.save(image, path)
    return path


def listing(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def sidecar(path: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(Path(path).read_text())
    return facts


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it a failure to load weights."""

    def refuse(*args: object) -> None:
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr(checkpoint, "open_model", refuse)


# ---------------------------------------------------------------------- what is written
@pytest.mark.parametrize("dtype", ["i2", "u2", "f4"])
@pytest.mark.parametrize("shape", [(48, 40), (48, 40, 2), (48, 40, 1, 2)])
def test_grid_codes_and_known_voxels_are_kept(run: Run, tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    source = write_scan(tmp_path / "a.nii", shape, dtype)
    raw = bytearray(source.read_bytes())
    raw[112:120] = np.array([0.5, -20], "<f4").tobytes()  # the scaling, which nibabel would choose itself
    source.write_bytes(raw)
    code, out, err = run("inpaint", source, "--mask", "0.6", "--samples", "2", "--seed", "3")
    assert (code, out) == (0, "a_inpainted.nii.gz\n"), err
    old, new = nib.load(source), nib.load("a_inpainted.nii.gz")
    spread = nib.load("a_inpainted_std.nii.gz")
    for image in (new, spread):
        assert np.array_equal(image.affine, old.affine) and image.shape == old.shape
        assert np.array_equal(image.header["dim"], old.header["dim"])
        assert np.array_equal(image.header["pixdim"][:5], old.header["pixdim"][:5])
        for name in ("sform_code", "qform_code", "xyzt_units", "quatern_b", "qoffset_x"):
            assert image.header[name] == old.header[name]
    assert new.get_data_dtype() == old.get_data_dtype() and spread.get_data_dtype() == np.float32
    assert (new.dataobj.slope, new.dataobj.inter) == (0.5, -20) and (spread.dataobj.slope, spread.dataobj.inter) == (
        1,
        0,
    )
    known = parse("0.6").draw(load(source).shape, seed=3)
    before, after = load(source), load("a_inpainted.nii.gz")
    assert np.array_equal(before.stored[known], after.stored[known])
    assert not np.array_equal(before.stored[~known], after.stored[~known])
    std = load("a_inpainted_std.nii.gz").voxels
    assert (std[known] == 0).all() and std.max() > 0


def test_planes_by_number_and_a_mask_that_holds_still(run: Run, tmp_path: Path) -> None:
    source = write_scan(tmp_path / "a.nii.gz", (48, 40, 3, 2))
    old = load(source).stored
    assert run("inpaint", source, "--mask", "slices:2-3", "-o", "two.nii")[0] == 0
    new = load("two.nii").stored
    assert np.array_equal(new[:, 0], old[:, 0]) and all((new[:, z] != old[:, z]).any() for z in (1, 2))
    assert sidecar("two.json")["mask"]["spec"] == "slices:2-3"
    assert run("inpaint", source, "--mask", "0.5,size=8,hold=tz", "-o", "held.nii")[0] == 0
    changed = load("held.nii").stored != old
    assert 0.3 < changed.any(axis=(0, 1)).mean() <= 0.52  # in all planes the same half
    code, out, err = run("inpaint", source, "--mask", "slices:3-4", "-o", "none.nii")
    assert (code, out) == (2, "") and "option --mask: the scan has the slices 1 .. 3 (got 4)" in err
    assert LINE.fullmatch(err) and not Path("none.nii").exists()


def test_samples_mean_and_spread_agree(run: Run, tmp_path: Path) -> None:
    source = write_scan(tmp_path / "a.nii.gz", dtype="f4")
    code, out, _ = run(
        "inpaint", source, "--mask", "box:0.4", "--samples", 3, "--keep-samples", "-o", "out.nii", "--json"
    )
    (facts,) = json.loads(out)["outputs"]
    assert code == 0 and facts["image"] == "out.nii" and facts["hidden_fraction"] == pytest.approx(0.4, abs=0.02)
    names = ["out_sample01.nii", "out_sample02.nii", "out_sample03.nii"]
    assert listing(tmp_path) == {"a.nii.gz", "out.nii", "out_std.nii", "out.json", *names}
    draws = np.stack([load(name).voxels for name in names])
    assert len({draw.tobytes() for draw in draws}) == 3
    assert np.allclose(load("out.nii").voxels, draws.mean(0), rtol=1e-5, atol=1e-3)
    assert np.allclose(load("out_std.nii").voxels, draws.std(0, ddof=1), rtol=1e-3, atol=1e-3)
    run("inpaint", source, "--mask", "box:0.4", "-o", "one.nii")
    assert np.array_equal(load("one.nii").stored, load(names[0]).stored)  # more samples do not change the first
    assert sidecar("one.json")["image_is"] == "one sample"
    assert sidecar("out.json")["image_is"] == "the mean of 3 samples"


def test_antithetic_draws_come_in_pairs(run: Run, tmp_path: Path) -> None:
    source = write_scan(tmp_path / "a.nii.gz", (48, 40), "f4")
    args = ("inpaint", source, "--mask", "box:0.4", "--samples", 3, "--keep-samples")
    assert run(*args, "-o", "plain.nii")[0] == run(*args, "--antithetic", "-o", "pairs.nii")[0] == 0
    plain, pairs = ([load(f"{name}_sample0{k}.nii").voxels for k in (1, 2, 3)] for name in ("plain", "pairs"))
    assert [np.array_equal(a, b) for a, b in zip(plain, pairs, strict=True)] == [True, False, True]
    apart = np.square(pairs[0] - pairs[2]) + np.square(pairs[1] - pairs[2])
    assert np.allclose(load("pairs_std.nii").voxels, np.sqrt(apart / 4), rtol=1e-3, atol=1e-3)
    assert [sidecar(f"{name}.json")["options"]["antithetic"] for name in ("plain", "pairs")] == [False, True]
    assert sidecar("pairs.json")["image_is"] == "the mean of 3 samples in opposite pairs"
    for folder, more in (("g", ()), ("h", ("--antithetic",))):
        assert run("generate", "-n", 2, "-o", folder, *more)[0] == 0
    made = [[load(f"{folder}/generated-000{n}.nii.gz").stored for n in (1, 2)] for folder in "gh"]
    assert [np.array_equal(a, b) for a, b in zip(*made, strict=True)] == [True, False]
    assert sidecar("h/generated-0002.json")["options"]["antithetic"] is True


def test_the_sidecar_says_all(run: Run, tmp_path: Path, tiny_checkpoint: Path) -> None:
    source = write_scan(tmp_path / "a.nii.gz")
    options = (
        "--set",
        "temperature=0.5",
        "--set",
        "parallel=2",
        "--condition",
        "phase=0.4",
        "--samples",
        2,
        "--preview",
    )
    code, _, err = run("inpaint", source, "--mask", "heart:0.5", "--seed", 7, *options)
    assert code == 0 and "53.3 % of the voxels are hidden" in err  # whole patches
    facts = sidecar("a_inpainted.json")
    meta = json.loads((tiny_checkpoint / "meta.json").read_text())
    assert facts["synthetic"] is True and "not a medical device" in facts["notice"]
    assert facts["model"]["weights_sha256"] == meta["sha256"] and facts["model"]["name"] == "ar-vq"
    assert facts["model"]["tokenizer"] == {"name": "vq", "sha256": meta["tokenizer"]["sha256"]}
    wanted = {"order": "any", "temperature": 0.5, "top_k": 0, "top_p": 1.0, "parallel": 2}
    assert facts["sampling"] | wanted == facts["sampling"] and facts["condition"] == {"phase": 0.4}
    assert facts["seed"] == 7 and facts["options"]["samples"] == 2 and facts["device"] == "cpu"
    assert facts["mask"]["spec"] == "heart:0.5" and "fraction hidden" in facts["mask"]["polarity"]
    assert facts["input"]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert facts["items"] == 8 and facts["network_calls"] > 0 and facts["seconds"] > 0
    assert set(facts["software"]) >= {"cmrgz", "torch", "numpy", "python"}
    assert {p["name"]: p["used"] for p in facts["plugins"]}.items() >= {"ar-vq": True, "vq": True}.items()
    ends = {"image": ".nii.gz", "std": "_std.nii.gz", "preview": ".png", "cine": ".gif", "page": ".html"}
    assert facts["outputs"].keys() == ends.keys()
    for role, end in ends.items():
        data = Path(f"a_inpainted{end}").read_bytes()
        assert facts["outputs"][role]["sha256"] == hashlib.sha256(data).hexdigest()
    assert 0 < facts["scale"]["high"] <= 550 and facts["scale"]["low"] == 0


def test_a_mask_file_is_read_by_its_label(run: Run, tmp_path: Path) -> None:
    source = write_scan(tmp_path / "a.nii.gz")
    scan = load(source)
    known = parse("0.3").draw(scan.shape, seed=0)
    save("ones_hidden.nii.gz", scan, (~known).astype(np.uint8))
    save("ones_known.nii.gz", scan, known.astype(np.uint8))
    for name, args in {
        "p": ("--mask", "0.3"),
        "h": ("--mask", "ones_hidden.nii.gz"),
        "k": ("--mask", "ones_known.nii.gz", "--mask-label", "known"),
    }.items():
        assert run("inpaint", source, *args, "-o", f"{name}.nii")[0] == 0
    assert np.array_equal(load("p.nii").stored, load("h.nii").stored)
    assert np.array_equal(load("p.nii").stored, load("k.nii").stored)
    facts = sidecar("k.json")["mask"]
    assert facts["polarity"] == "1 in the file means known" and facts["hidden_fraction"] == 1 - known.mean()
    assert len({sidecar(f"{name}.json")["mask"]["known_sha256"] for name in "phk"}) == 1
    assert facts["known_sha256"] == hashlib.sha256(known.tobytes()).hexdigest()


def test_lesions_come_from_the_label_beside_the_scan(run: Run, tmp_path: Path) -> None:
    source = write_scan(tmp_path / "a.nii.gz")
    assert run("inpaint", source, "--mask", "lesion")[0] == 3
    scan = load(source)
    label = np.zeros(scan.shape, np.uint8)
    label[..., 8:24, 8:24] = 2
    save("a_label.nii.gz", scan, label)
    assert run("inpaint", source, "--mask", "lesion")[0] == 0
    changed = load("a_inpainted.nii.gz").stored != scan.stored
    assert changed.any() and not changed[label != 2].any()


def test_nothing_hidden_returns_the_scan(run: Run, tmp_path: Path) -> None:
    source = write_scan(tmp_path / "a.nii.gz", (50, 77, 1, 2), "f4")
    assert run("inpaint", source, "--mask", "0")[0] == 0
    assert np.array_equal(load("a_inpainted.nii.gz").stored, load(source).stored)
    assert sidecar("a_inpainted.json")["network_calls"] == 0


def test_everything_hidden_is_generation(run: Run) -> None:
    assert run("generate", "--seed", 4, "-o", "g")[0] == 0
    assert run("inpaint", "g/generated-0001.nii.gz", "--mask", "1", "--seed", 4, "-o", "again.nii.gz")[0] == 0
    assert np.array_equal(load("again.nii.gz").stored, load("g/generated-0001.nii.gz").stored)
    assert load("again.nii.gz").stored.std() > 1


def test_nonfinite_voxels_can_be_set_to_zero(run: Run, tmp_path: Path) -> None:
    source = write_scan(tmp_path / "a.nii", dtype="f4")
    raw = source.read_bytes()
    source.write_bytes(raw[:-4] + np.float32(np.nan).tobytes())
    assert run("inpaint", source, "--mask", "0.2")[0] == 3
    assert run("inpaint", source, "--mask", "0.2", "--nonfinite", "zero")[0] == 0
    assert np.isfinite(load("a_inpainted.nii.gz").voxels).all()


# ---------------------------------------------------------------------- what is refused
REFUSED: list[tuple[tuple[str, ...], str, int]] = [
    (("a.nii.gz",), "usage", 2),
    (("--mask", "0.5"), "usage", 2),
    (("a.nii.gz", "--mask", "70"), "range", 2),
    (("a.nii.gz", "--mask", "ptch:0.7"), "usage", 2),
    (("a.nii.gz", "--mask", "-0.1"), "range", 2),
    (("a.nii.gz", "--mask", "none.nii.gz"), "not-found", 3),
    (("a.nii.gz", "--mask", "b.nii.gz"), "shape-mismatch", 3),
    (("a.nii.gz", "--mask", "a.nii.gz"), "mask-values", 3),
    (("a.nii.gz", "--mask", "0.5", "--mask-label", "known"), "usage", 2),
    (("a.nii.gz", "--mask", "0.5", "--mask-label", "knwn"), "range", 2),
    (("a.nii.gz", "--mask", "0.5", "--seed", "-1"), "range", 2),
    (("a.nii.gz", "--mask", "0.5", "--seed", str(2**63)), "range", 2),
    (("a.nii.gz", "--mask", "0.5", "--seed", "1.5"), "range", 2),
    (("a.nii.gz", "--mask", "0.5", "--samples", "0"), "range", 2),
    (("a.nii.gz", "--mask", "0.5", "--batch-size", "0"), "range", 2),
    (("a.nii.gz", "--mask", "0.5", "--batch-size", "many"), "range", 2),
    (("a.nii.gz", "--mask", "0.5", "--batch-size", "9" * 20_000), "range", 2),
    (("a.nii.gz", "--mask", "0.5", "--seed", "9" * 20_000), "range", 2),
    (("a.nii.gz", "--mask", "9" * 20_000), "range", 2),
    (("a.nii.gz", "--mask", "0.5", "--condition", "phase=" + "9" * 20_000), "range", 2),
    (("a.nii.gz", "--mask", "0.5", "--set", "temperature=" + "9" * 20_000), "range", 2),
    (("a.nii.gz", "--mask", "0.5", "--device", "cuda:9"), "device", 6),
    (("a.nii.gz", "--mask", "0.5", "--set", "temprature=1"), "unknown-key", 2),
    (("a.nii.gz", "--mask", "0.5", "--set", "temperature=-1"), "range", 2),
    (("a.nii.gz", "--mask", "0.5", "--set", "order=sideways"), "range", 2),
    (("a.nii.gz", "--mask", "0.5", "--condition", "phse=0.4"), "unknown-key", 2),
    (("a.nii.gz", "--mask", "0.5", "--condition", "phase=4"), "range", 2),
    (("a.nii.gz", "--mask", "0.5", "--model", "ar-qv"), "unknown-plugin", 2),
    (("a.nii.gz", "--mask", "0.5", "--model", "."), "no-checkpoint", 4),
    (("no.nii.gz", "--mask", "0.5"), "not-found", 3),
    (("*.mha", "--mask", "0.5"), "empty-dataset", 3),
    (("x" * 5000, "--mask", "0.5"), "not-found", 3),
    (("text.txt", "--mask", "0.5"), "wrong-extension", 3),
    (("empty.nii.gz", "--mask", "0.5"), "empty", 3),
    (("torn.nii.gz", "--mask", "0.5"), "truncated", 3),
    (("one.nii.gz", "--mask", "frames:0.5"), "usage", 2),
    (("a.nii.gz", "--mask", "0.5", "-o", "a.nii.gz"), "overwrite-input", 2),
    (("a.nii.gz", "--mask", "0.5", "-o", "link.nii.gz", "--overwrite"), "overwrite-input", 2),
    (("a.nii.gz", "--mask", "0.5", "-o", "hard.nii.gz", "--overwrite"), "overwrite-input", 2),
    (("a.nii.gz", "--mask", "m.nii.gz", "-o", "m.nii.gz", "--overwrite"), "overwrite-input", 2),
    (("a.nii.gz", "--mask", "0.5", "-o", "b.nii.gz"), "exists", 2),
    (("a.nii.gz", "--mask", "0.5", "-o", "taken.nii.gz"), "exists", 2),
    (("a.nii.gz", "--mask", "0.5", "-o", "none/none/out.nii.gz"), "io", 6),
    (("a.nii.gz", "--mask", "0.5", "-o", "text.txt/out.nii.gz"), "io", 6),
    (("a.nii.gz", "--mask", "0.5", "-o", "text.txt"), "io", 6),
    (("a.nii.gz", "b.nii.gz", "--mask", "0.5", "-o", "c.nii.gz"), "usage", 2),
    (("sub/a.nii.gz", "sub/A.nii.gz", "--mask", "0.5"), "collision", 2),
    (("a.nii.gz", "-i", "a.nii.gz", "--mask", "0.5"), "duplicate", 3),
]


@pytest.mark.parametrize(
    ("args", "code", "exit_code"), REFUSED, ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else None
)
def test_what_is_refused_is_one_line_before_any_weights(
    run: Run, tmp_path: Path, no_weights: None, args: tuple[str, ...], code: str, exit_code: int
) -> None:
    scan = load(write_scan(tmp_path / "a.nii.gz"))
    write_scan(tmp_path / "b.nii.gz", (30, 30, 2, 2))
    write_scan(tmp_path / "one.nii.gz", (48, 40, 2))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    (tmp_path / "sub/A.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    save("m.nii.gz", scan, parse("0.5").draw(scan.shape, seed=0).astype(np.uint8))
    (tmp_path / "link.nii.gz").symlink_to("a.nii.gz")
    os.link("a.nii.gz", "hard.nii.gz")
    Path("text.txt").write_text("no scan")
    Path("taken.json").write_text("{}")
    Path("empty.nii.gz").touch()
    Path("torn.nii.gz").write_bytes(Path("a.nii.gz").read_bytes()[:-300])
    before = {name: (tmp_path / name).read_bytes() for name in listing(tmp_path)}
    got, out, err = run("inpaint", *args)
    lines = [line for line in err.splitlines(keepends=True) if ": info[" not in line]
    assert (got, out) == (exit_code, ""), err
    match = LINE.fullmatch("".join(lines))
    assert match and match[1] == code and len(lines[0]) <= 241, err
    assert {name: (tmp_path / name).read_bytes() for name in listing(tmp_path)} == before


@pytest.mark.parametrize("args", [("inpaint",), ("inpaint", "a.nii.gz", "--mask", "0.5"), ("generate",)])
def test_a_model_must_be_named(run: Run, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]) -> None:
    monkeypatch.delenv("CMRGZ_MODEL")
    code, out, err = run(*args)
    assert (code, out) == (2, "") and LINE.fullmatch(err) and "is missing" in err


def test_a_wrong_mask_is_refused_without_torch() -> None:
    code = (
        "import sys; from cmrgz.cli import main; c = main(sys.argv[1:]); assert 'torch' not in sys.modules; sys.exit(c)"
    )
    args = ("inpaint", "a.nii.gz", "-m", "ar-vq", "--mask", "ptch:0.5")
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and LINE.fullmatch(done.stderr), done.stderr


def test_existing_outputs_are_replaced_only_if_asked(run: Run, tmp_path: Path) -> None:
    source = write_scan(tmp_path / "a.nii.gz")
    assert run("inpaint", source, "--mask", "0.5")[0] == 0
    first = Path("a_inpainted.nii.gz").read_bytes()
    assert run("inpaint", source, "--mask", "0.5", "--seed", 1)[0] == 2
    assert Path("a_inpainted.nii.gz").read_bytes() == first and sidecar("a_inpainted.json")["seed"] == 0
    assert run("inpaint", source, "--mask", "0.5", "--seed", 1, "--overwrite")[0] == 0
    assert Path("a_inpainted.nii.gz").read_bytes() != first and sidecar("a_inpainted.json")["seed"] == 1


def test_a_damaged_model_is_named(run: Run, tmp_path: Path, tiny_checkpoint: Path) -> None:
    source = write_scan(tmp_path / "a.nii.gz")
    folder = tmp_path / "model"
    folder.mkdir()
    for path in tiny_checkpoint.rglob("*"):
        target = folder / path.relative_to(tiny_checkpoint)
        target.mkdir() if path.is_dir() else target.write_bytes(path.read_bytes())
    with (folder / "weights.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    before = listing(tmp_path)
    code, out, err = run("inpaint", source, "--mask", "0.5", "-m", folder)
    assert (code, out) == (4, "") and "error[hash]" in err and listing(tmp_path) == before


# ---------------------------------------------------------------------- many scans
def test_many_scans_load_the_model_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    real = checkpoint.open_model
    monkeypatch.setattr(checkpoint, "open_model", lambda *args: (opened.append(args), real(*args))[1])
    for name in ("p1/one.nii.gz", "p2/two.nii", "three.nii.gz"):
        write_scan(tmp_path / name, (24, 24, 1, 2))
    Path("list.csv").write_text("image,subject\np1/one.nii.gz,a\np2/two.nii,b\n")
    code, out, err = run("inpaint", "list.csv", "three.nii.gz", "--mask", "0.5")
    names = [f"inpainted/{name}_inpainted.nii.gz" for name in ("one", "two", "three")]
    assert (code, out.splitlines()) == (0, names), err
    assert len(opened) == 1 and err.count("hidden") >= 3
    alone = Path("alone")
    assert run("inpaint", "p1/one.nii.gz", "--mask", "0.5", "-o", alone)[0] == 0
    assert (alone / "one_inpainted.nii.gz").read_bytes() == Path(names[0]).read_bytes()
    assert run("inpaint", "p*/*", "--mask", "0.5", "--overwrite")[1].splitlines() == names[:2]


def test_results_in_a_folder_of_scans_are_no_scans(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_scan(tmp_path / f"{name}.nii.gz", (24, 24, 1))
    for _ in range(2):
        code, out, err = run("inpaint", tmp_path, "--mask", "0", "--overwrite")
        assert (code, len(out.splitlines())) == (0, 2), err


@pytest.mark.parametrize("as_json", [False, True])
def test_one_bad_scan_of_many_does_not_stop_the_others(run: Run, tmp_path: Path, as_json: bool) -> None:
    for name in ("a", "b", "d"):
        write_scan(tmp_path / f"{name}.nii.gz", (24, 24, 1))
    Path("c.nii.gz").write_bytes(b"")
    Path("b.nii.gz").write_bytes(Path("b.nii.gz").read_bytes()[:-200])  # its header is good
    code, out, err = run(
        "inpaint", "a.nii.gz", "b.nii.gz", "c.nii.gz", "d.nii.gz", "--mask", "0.5", *["--json"] * as_json
    )
    errors = [line for line in err.splitlines(keepends=True) if "error[" in line]
    assert code == 8 and all(LINE.fullmatch(line) for line in errors)
    assert [re.findall(r"\[(.+?)\]", line)[0] for line in errors] == ["empty", "truncated", "partial"]
    assert "2 of 4" in errors[-1]
    made = {"inpainted/a_inpainted", "inpainted/d_inpainted"}
    assert listing(tmp_path / "inpainted") == {f"{Path(m).name}{end}" for m in made for end in (".nii.gz", ".json")}
    if as_json:
        told = json.loads(out)
        assert [f["code"] for f in told["failed"]] == ["empty", "truncated"] and len(told["outputs"]) == 2
    else:
        assert set(out.splitlines()) == {f"{m}.nii.gz" for m in made}


def test_when_all_are_refused_that_is_the_exit_code(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        Path(f"{name}.nii.gz").write_bytes(b"")
    code, out, err = run("inpaint", "a.nii.gz", "b.nii.gz", "--mask", "0.5")
    assert (code, out) == (3, "") and "all 2 scans were refused" in err and len(err.splitlines()) == 3
    assert listing(tmp_path) == {"a.nii.gz", "b.nii.gz"}


def test_odd_names(run: Run, tmp_path: Path) -> None:
    name = os.fsdecode(b"-a \xff\n.nii")
    write_scan(tmp_path / "x.nii", (24, 24)).rename(tmp_path / name)
    code, out, err = run("inpaint", "--mask", "0", "--", name)
    assert code == 0, err
    assert os.fsdecode(b"-a \xff\n_inpainted.nii.gz") in os.listdir(tmp_path)


def test_a_voxel_of_a_large_scan_is_not_nothing(run: Run, tmp_path: Path) -> None:
    scan = load(write_scan(tmp_path / "a.nii.gz", (64, 64)))
    hidden = np.zeros(scan.shape, np.uint8)
    hidden[0, 0, 5, 5] = 1
    save(tmp_path / "m.nii.gz", scan, hidden)
    code, _, err = run("inpaint", "a.nii.gz", "--mask", "m.nii.gz", "--mask-label", "hidden")
    assert code == 0 and "< 0.1 % of the voxels are hidden" in err, err


def test_control_characters_of_names_do_not_reach_stdout(run: Run, tmp_path: Path) -> None:
    """A terminal acts on them, and a line is a result; a space of another alphabet does no harm."""
    name = "a\x1b[31m\n\u202eb\u3000é"
    write_scan(tmp_path / f"{name}.nii", (24, 24))
    code, out, err = run("inpaint", "--mask", "0", f"{name}.nii", "-o", f"{name}.nii.gz")
    assert (code, out) == (0, "a\\x1b[31m\\n\\u202eb\u3000é.nii.gz\n"), err
    code, out, _ = run("generate", "-o", "g\n\x1b")
    assert code == 0 and out.startswith("g\\n\\x1b/") and len(out.splitlines()) == 1
    code, out, _ = run("plugins", "new", "my-model", "-o", "p\n\x1b")
    assert (code, out) == (0, "p\\n\\x1b\n")
    code, out, _ = run("inpaint", "--mask", "0", f"{name}.nii", "-o", os.fsdecode(b"\xff.nii.gz"))
    assert (code, out) == (0, "\ufffd.nii.gz\n"), "bytes that are no text are printed as they are"


# ---------------------------------------------------------------------- identity
ALL = ("--samples", "2", "--keep-samples", "--preview")
TOKENS = (b"DOE^JANE", b"19630715", b"MRN0012345", b"SECRETPLACE")


def test_nothing_of_a_patient_is_in_any_output(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "SECRETPLACE"
    texts = {
        "descrip": b"DOE^JANE 19630715",
        "aux_file": b"MRN0012345",
        "intent_name": b"DOE^JANE",
        "db_name": b"19630715",
    }
    source = write_scan(folder / "DOE^JANE.nii", (24, 24, 1, 2), **texts)
    image = nib.load(source)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE born 19630715 MRN0012345"))
    nib.save(image, source)
    packed = folder / "MRN0012345.nii.gz"
    with packed.open("wb") as raw, gzip.GzipFile("DOE^JANE", "wb", fileobj=raw) as file:
        file.write(source.read_bytes())
    assert all(t in source.read_bytes() for t in TOKENS[:3])
    code, _, err = run("inpaint", packed, "--mask", "0.5", *ALL, "-o", "out/a.nii.gz")
    assert code == 0, err
    made = [path for path in (tmp_path / "out").iterdir()]
    assert len(made) == 8
    for path in made:
        data = path.read_bytes()
        data += gzip.decompress(data) if path.name.endswith(".gz") else b""
        assert not [t for t in TOKENS if t in data], path
    assert "warning[phi]" in err and "DOE^JANE" not in err.replace(str(source), "")


# ---------------------------------------------------------------------- interruption and faults
@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_a_set_of_files_is_whole_or_absent(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException
) -> None:
    source = write_scan(tmp_path / "a.nii.gz", (24, 24, 1, 2))
    count = iter(range(1, 100))

    def interrupted(self: outputs.Together, path: Path, *rest: Any) -> None:
        real_claim(self, path)
        if next(count) == number:
            raise error

    real_claim = outputs.Together._claim
    monkeypatch.setattr(outputs.Together, "_claim", interrupted)
    code, out, _ = run("inpaint", source, "--mask", "0", *ALL)
    assert (code, out) == (130 if isinstance(error, KeyboardInterrupt) else 6, "")
    assert listing(tmp_path) == {"a.nii.gz"}


def test_sigterm_leaves_no_part_of_a_set_of_files(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_scan(tmp_path / "a.nii.gz", (24, 24))
    real = outputs.Together.raw

    def ended(self: outputs.Together, path: Path, data: bytes) -> None:
        real(self, path, data)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(outputs.Together, "raw", ended)
    code, out, err = run("inpaint", source, "--mask", "0", "-q", "--samples", "2")
    assert (code, out) == (143, "") and err.splitlines()[-1].startswith(
        "cmrgz: error[stopped]: cmrgz inpaint: ended by"
    )
    assert listing(tmp_path) == {"a.nii.gz"}


def operations(run: Run, monkeypatch: pytest.MonkeyPatch, source: Path) -> int:
    """Return how many durable operations the outputs of a scan take."""
    counter = Faults()
    monkeypatch.setattr(durable_files, "system", counter)
    assert run("inpaint", source, "--mask", "0", "--samples", 2)[0] == 0
    for name in ("a_inpainted.nii.gz", "a_inpainted_std.nii.gz", "a_inpainted.json"):
        Path(name).unlink()
    return counter.count


def test_a_full_disk_leaves_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_scan(tmp_path / "a.nii.gz", (24, 24, 1))
    for n in range(1, operations(run, monkeypatch, source) + 1):
        monkeypatch.setattr(durable_files, "system", Faults(fail=f"{n}:ENOSPC"))
        code, out, err = run("inpaint", source, "--mask", "0", "--samples", 2)
        assert (code, out) == (6, "") and "error[disk-full]" in err, n
        assert listing(tmp_path) == {"a.nii.gz"}, n


def test_death_anywhere_leaves_whole_files(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_scan(tmp_path / "a.nii.gz", (24, 24, 1))
    total = operations(run, monkeypatch, source)
    monkeypatch.setattr(durable_files, "system", Faults())
    run("inpaint", source, "--mask", "0", "--samples", 2, "-o", "whole/a.nii.gz")
    whole = {name: (tmp_path / "whole" / name).read_bytes() for name in ("a.nii.gz", "a_std.nii.gz")}
    for n in range(1, total + 1):
        out = tmp_path / f"out{n}"
        out.mkdir()
        if (child := os.fork()) == 0:
            durable_files.system = Faults(kill=f"{n}:half")
            os._exit(main(["-q", "inpaint", str(source), "--mask", "0", "--samples", "2", "-o", f"{out}/a.nii.gz"]))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        for name in listing(out):
            assert name.startswith(".tmp-") or name == "a.json" or (out / name).read_bytes() == whole[name]
        done = (out / "a.json").exists()
        assert not done or listing(out) >= {"a.nii.gz", "a_std.nii.gz"}  # the sidecar is last
        again = run("inpaint", source, "--mask", "0", "--samples", 2, "-o", f"{out}/a.nii.gz", "--overwrite")
        assert again[0] == 0 and listing(out) == {"a.nii.gz", "a_std.nii.gz", "a.json"}
        assert {name: (out / name).read_bytes() for name in whole} == whole


def test_ctrl_c_leaves_nothing(tmp_path: Path, tiny_checkpoint: Path) -> None:
    source = write_scan(tmp_path / "in" / "a.nii.gz", (128, 128, 6, 8))
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-m", "cmrgz", "inpaint", str(source), "-m", str(tiny_checkpoint), "--mask", "1"]
    command += ["--samples", "40"]  # long enough to be interrupted, on a fast machine too
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background it is ignored
    try:
        process = subprocess.Popen(command, cwd=out, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stderr is not None
    assert "hidden" in process.stderr.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    told, err = process.communicate(timeout=300)
    assert (process.returncode, told) == (130, "") and "Traceback" not in err, err
    assert listing(out) == set()


# ---------------------------------------------------------------------- generate
def test_generated_scans_differ_and_do_not_depend_on_how_many(run: Run, tmp_path: Path) -> None:
    code, out, err = run("generate", "-n", 3, "--slices", 2, "--phases", 2, "--seed", 1, "--preview", "-o", "g")
    names = [f"g/generated-000{n}.nii.gz" for n in (1, 2, 3)]
    assert (code, out.splitlines()) == (0, names), err
    assert listing(tmp_path / "g") == {Path(n).name for n in names} | {f"generated-000{n}.json" for n in (1, 2, 3)} | {
        "preview.png",
        "preview.html",
    }
    scans = [load(name) for name in names]
    planes = {scan.stored[at].tobytes() for scan in scans for at in np.ndindex(2, 2)}
    assert len(planes) == 12
    for scan in scans:
        assert scan.shape == (2, 2, 64, 64) and scan.stored.dtype == np.int16
        assert scan.spacing == pytest.approx((10, 1.4, 1.4))
    assert run("generate", "-n", 1, "--slices", 2, "--phases", 2, "--seed", 1, "-o", "h")[0] == 0
    assert Path("h/generated-0001.nii.gz").read_bytes() == Path(names[0]).read_bytes()
    assert [sidecar(f"g/generated-000{n}.json")["sample"] for n in (1, 2, 3)] == [0, 1, 2]
    facts = sidecar("g/generated-0002.json")
    assert facts["synthetic"] and facts["command"] == "cmrgz generate" and facts["hidden_fraction"] == 1
    assert facts["outputs"]["image"]["sha256"] == hashlib.sha256(Path(names[1]).read_bytes()).hexdigest()
    assert nib.load(names[0]).header["descrip"].item().endswith(b"synthetic 100%")


def test_groups_of_generated_scans_are_no_seam(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from cmrgz.scans import generate

    assert run("generate", "-n", 5, "-o", "g")[0] == 0
    monkeypatch.setattr(generate, "GROUP", 2)
    code, out, _ = run("generate", "-n", 5, "-o", "h", "--json")
    assert code == 0 and len(json.loads(out)["outputs"]) == 5
    for n in range(1, 6):
        name = f"generated-000{n}.nii.gz"
        assert Path("g", name).read_bytes() == Path("h", name).read_bytes()


@pytest.mark.parametrize(
    ("args", "code", "exit_code"),
    [
        (("-n", "0"), "range", 2),
        (("--slices", "0"), "range", 2),
        (("--phases", "-3"), "range", 2),
        (("-o", "none/none"), "io", 6),
        (("-o", "full"), "exists", 2),
        (("--set", "stps=3"), "unknown-key", 2),
        (("--condition", "phase"), "usage", 2),
    ],
)
def test_generate_refuses(
    run: Run, tmp_path: Path, no_weights: None, args: tuple[str, ...], code: str, exit_code: int
) -> None:
    Path("full").mkdir()
    Path("full/generated-0001.json").touch()
    got, out, err = run("generate", *args)
    match = LINE.fullmatch(err)
    assert (got, out) == (exit_code, "") and match and match[1] == code, err
    assert listing(tmp_path) == {"full/generated-0001.json"}


@pytest.fixture(autouse=True)
def no_leftovers(tmp_path: Path) -> Iterator[None]:
    """After each test there is no temporary of ours, and no scan is a link to nothing."""
    yield
    assert not [path for path in tmp_path.rglob(".tmp-*")]
