"""`cmrgz inpaint --refine`: new slices and phases between those of a scan, which stay where and what they are."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cmrgz.data.masks import parse
from cmrgz.data.scan import load

LINE = re.compile(r"(cmrgz: info\[.+\n)*cmrgz: error\[([a-z-]+)\]: (.+): .+\n")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def block_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of an untrained ldm-unet of blocks of 3 phases of 3 slices, 64 x 64."""
    import torch
    from cmrgz_ldm_unet.network import build
    from cmrgz_tokenizers import kl

    from cmrgz import checkpoint, registry
    from cmrgz.plugin import Extent
    from cmrgz.rng import Streams

    options, architecture = {"width": 8, "blocks": 1}, {"size": "tiny", "axes": "tzyx"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        items = torch.rand(6, 1, 3, 3, 64, 64).cumsum(-1).div(32).sub(1).clamp(-1, 1)
        tokenizer = kl.build(**options)
        tokenizer.fit(items.flatten(2, 3).flatten(0, 2)[:, None], rng=Streams(0, [("fit",)]))
        model = build(tokenizer, **architecture)
        model.fit(items, rng=Streams(0, [("fit",)]))
    meta = checkpoint.describe(registry.get_tokenizer("kl"), options, extent=Extent(item=(64, 64)))
    extent = Extent(("t", "z", "y", "x"), (3, 3, 64, 64))
    facts = checkpoint.describe(registry.get_model("ldm-unet"), architecture, extent=extent)
    folder = tmp_path_factory.mktemp("blocks") / "checkpoint"
    checkpoint.save(folder, model, facts, tokenizer=checkpoint.Opened(tokenizer, meta))
    return folder


@pytest.fixture
def run(block_checkpoint: Path, command_line: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `cmrgz inpaint`, of one step."""
    monkeypatch.setenv("CMRGZ_MODEL", str(block_checkpoint))

    def call(*args: str | Path, steps: bool = True) -> tuple[int, str, str]:
        return command_line("inpaint", *args, *(["--set", "steps=1"] if steps else []))

    return call


def write_scan(path: Path, shape: tuple[int, ...] = (40, 48, 3, 4)) -> Path:
    """Write a scan (x, y, z, t) that beats once, with both forms."""
    x, y, z, t = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    beat = 2 * np.pi * t / shape[3]
    values = 100 + 500 / (1 + np.exp(np.hypot(x - 20 - 4 * np.cos(beat), y - 24 - 4 * np.sin(beat)) - 9 + z))
    turn = Rotation.from_euler("zx", [20, 10], degrees=True).as_matrix() @ [[0, -1, 0], [-1, 0, 0], [0, 0, -1]]
    affine = np.vstack([np.column_stack([turn * [1.4, 1.4, 8], [40, 30, 20]]), [0, 0, 0, 1]])
    image = nib.Nifti1Image(values.astype("i2"), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 3, strip_shears=True)
    image.header.set_xyzt_units("mm", "msec")
    image.header["pixdim"][4] = 40
    nib.save(image, path)
    return path


def sidecar(path: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(Path(path).read_text())
    return facts


def test_planes_between_are_drawn_and_those_there_stay(run: Run, command_line: Run, tmp_path: Path) -> None:
    source = write_scan(tmp_path / "a.nii.gz")
    code, out, err = run(source, "--refine", "z=2", "--refine", "t=3", "--samples", 2, "--preview")
    assert (code, out) == (0, "a_refined.nii.gz\n"), err
    assert "3 slices -> 5 of 8 -> 4 mm, 4 phases -> 12" in err
    old, new = load(source), load("a_refined.nii.gz")
    assert new.shape == (12, 5, 48, 40) and np.array_equal(new.stored[::3, ::2], old.stored)
    std = load("a_refined_std.nii.gz").voxels
    assert not std[::3, ::2].any() and std[1].any() and std[0, 1].any()
    assert all(new.stored[t, z].std() > 0 for t, z in np.ndindex(12, 5))  # every new plane was drawn
    before, after = nib.load(source), nib.load("a_refined.nii.gz")
    for form in ("get_sform", "get_qform"):
        a, b = (getattr(image, form)() for image in (before, after))
        assert np.allclose(a @ [0, 0, 0, 1], b @ [0, 0, 0, 1]) and np.allclose(a @ [0, 0, 2, 1], b @ [0, 0, 4, 1])
    assert after.header.get_zooms() == pytest.approx((1.4, 1.4, 4, 40 / 3), rel=1e-6)
    facts = sidecar("a_refined.json")
    assert facts["refine"] == {"z": 2, "t": 3, "given_slices": 3, "given_phases": 4, "full_cycle": True}
    assert facts["mask"]["hidden_fraction"] == pytest.approx(1 - 12 / 60) and facts["mask"]["spec"] is None
    assert {"a_refined.png", "a_refined.gif", "a_refined.html"} <= {path.name for path in tmp_path.iterdir()}
    assert command_line("view", "a_refined.nii.gz", "-o", "b.html")[0] == 0
    page = Path("b.html").read_bytes()
    assert page == Path("a_refined.html").read_bytes() and b"3 of the 5 slices were recorded" in page


def test_a_mask_hides_of_the_scan_as_it_is(run: Run, tmp_path: Path) -> None:
    source = write_scan(tmp_path / "a.nii.gz")
    assert run(source, "--mask", "0.3,size=8", "--seed", 5, "--refine", "z=2", "-o", "b.nii")[0] == 0
    known = parse("0.3,size=8").draw((4, 3, 48, 40), seed=5)
    old, new = load(source).stored, load("b.nii").stored[:, ::2]
    assert np.array_equal(new[known], old[known]) and not np.array_equal(new[~known], old[~known])
    noisy = nib.load(source)
    values = np.asarray(noisy.dataobj).T.copy()
    values[~known] = 999  # what is hidden says nothing, also not of the new planes
    nib.save(nib.Nifti1Image(values.T, noisy.affine, noisy.header), "n.nii")
    assert run("n.nii", "--mask", "0.3,size=8", "--seed", 5, "--refine", "z=2", "-o", "c.nii")[0] == 0
    assert np.array_equal(load("b.nii").stored, load("c.nii").stored)


def test_a_batch_goes_on_and_knows_its_refinement(run: Run, tmp_path: Path) -> None:
    source = write_scan(tmp_path / "a.nii.gz", (40, 48, 2, 1))
    assert run(source, "--refine", "z=2", "-o", "b.nii")[0] == 0
    assert run(source, "--refine", "z=2", "-o", "b.nii", "--skip-existing")[:2] == (0, "")
    code, _, err = run(source, "--refine", "z=3", "-o", "b.nii", "--skip-existing")
    assert code == 2 and "config-mismatch" in err and "another refine" in err
    assert run(source, "--mask", "0.5", "-o", "b.nii", "--skip-existing")[0] == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--refine", "x=2"], "unknown-key", "z=2 makes new slices"),
        (["--refine", "2"], "unknown-key", "z=2 makes new slices"),
        (["--refine", "z"], "range", "2 .. 8"),
        (["--refine", "z=1"], "range", "2 .. 8"),
        (["--refine", "z=9"], "range", "2 .. 8"),
        (["--refine", "z=1.5"], "range", "2 .. 8"),
        (["--refine", "z=2", "--refine", "z=3"], "usage", "'z' is given twice"),
        (["--refine", "t=2"], "usage", "the scan has one phase"),
        (["--refine", "z=2", "--axes", "xytz"], "usage", "the scan has one slice"),
    ],
)
def test_what_is_no_refinement_is_refused_in_one_line(
    run: Run, tmp_path: Path, words: list[str], code: str, said: str
) -> None:
    source = write_scan(tmp_path / "a.nii.gz", (40, 48, 2, 1))
    exit_code, out, err = run(source, *words)
    match = LINE.fullmatch(err)
    assert exit_code == 2 and out == "" and match and match[2] == code and said in err
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


def test_a_model_of_frames_is_refused(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    source = write_scan(tmp_path / "a.nii.gz")
    code, out, err = run(source, "--refine", "z=2", "--model", tiny_checkpoint, steps=False)
    assert (code, out) == (
        2,
        "",
    ) and "error[no-context]: option --refine: 'ar-vq' does not see neighbouring slices" in err
