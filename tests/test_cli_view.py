"""`cmrgz view`, and the pages that `--preview` writes: what belongs to a result is found, or its absence is told."""

import base64
import json
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmrgz.data.masks import parse
from cmrgz.data.scan import Scan, load, save
from cmrgz.data.shares import percent

Run = Callable[..., tuple[int, str, str]]
SHAPE = (2, 3, 40, 48)


@pytest.fixture
def run(tiny_checkpoint: Path, command_line: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command line."""
    monkeypatch.setenv("CMRGZ_MODEL", str(tiny_checkpoint))
    return command_line


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a scan in a folder of its own."""
    (tmp_path / "data").mkdir()
    voxels = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)
    save(tmp_path / "data" / "a.nii.gz", Scan.blank(SHAPE, (10.0, 1.4, 1.4), 0.05), voxels)
    return tmp_path / "data" / "a.nii.gz"


def told(page: str | Path) -> dict[str, Any]:
    """Return what a page holds, its layers by their names."""
    text = Path(page).read_text()
    (data,) = re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)
    facts = json.loads(data)
    found = {layer["name"]: layer for layer in facts["layers"]}
    hidden = facts["hidden"] and np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(facts["hidden"])), "u1"))
    notes = re.findall(r"<li>(.*?)</li>", text)
    title = "".join(re.findall(r"<title>(.*?)</title>", text))
    return {"layers": found, "hidden": hidden, "notes": notes, "title": title, "text": text} | {"shape": facts["shape"]}


def same_hidden(page: dict[str, Any], known: NDArray[np.bool_]) -> bool:
    return np.array_equal(page["hidden"][: known.size].reshape(known.shape).astype(bool), ~known)


def test_the_page_of_a_preview_is_that_of_view(run: Run, source: Path) -> None:
    code, _, err = run(
        "inpaint", source, "--mask", "0.5", "--samples", 2, "--keep-samples", "--preview", "-o", "data/b.nii"
    )
    assert code == 0, err
    shutil.copy(source, "data/b.nii.gz")  # the scan is found by its name and hash
    code, out, err = run("view", "data/b.nii")
    assert (code, out, err) == (0, "b.html\n", "")
    assert Path("b.html").read_bytes() == Path("data/b.html").read_bytes()
    page = told("b.html")
    assert list(page["layers"]) == ["scan", "result", "spread", "sample 1", "sample 2"]
    known = parse("0.5").draw(SHAPE, seed=0)
    assert same_hidden(page, known) and page["title"] == "Inpainted scan"
    first, second = page["notes"]
    assert first == f"{percent(1 - known.mean(), 1)} of the voxels were hidden."
    assert second == "The result is the mean of 2 samples; known voxels are those of the scan."
    assert "synthetic" in page["text"] and "b.nii" not in page["text"]


def test_of_many_draws_the_first_are_shown(run: Run, source: Path) -> None:
    args = ("--mask", "box:0.1", "--samples", 9, "--keep-samples", "--preview", "-o", "data/a_inpainted.nii.gz")
    assert run("inpaint", source, *args)[0] == 0
    assert run("view", "data/a_inpainted.nii.gz")[0] == 0
    page = told("a_inpainted.html")
    assert Path("a_inpainted.html").read_bytes() == Path("data/a_inpainted.html").read_bytes()
    assert list(page["layers"])[3:] == [f"sample {k}" for k in range(1, 9)]
    assert page["notes"][-1] == "Of 9 samples the first 8 are here."


def test_what_is_not_there_is_told(run: Run, source: Path, tmp_path: Path) -> None:
    assert run("inpaint", source, "--mask", "box:0.3", "--samples", 2, "--seed", 4, "-o", "out/b.nii.gz")[0] == 0
    Path("out/b_std.nii.gz").unlink()
    assert run("view", "out/b.nii.gz")[0] == 0
    page = told("b.html")
    assert list(page["layers"]) == ["result"] and same_hidden(page, parse("box:0.3").draw(SHAPE, seed=4))
    assert page["notes"][2:] == [
        "Not found as it was written: std.", "The scan that was given was not found: --scan names it.",
    ]  # fmt: skip
    code, out, err = run("view", "out/b.nii.gz")
    assert (code, out) == (2, "") and "error[exists]: b.html: is already there" in err
    assert run("view", "out/b.nii.gz", "--scan", source, "--overwrite")[0] == 0
    assert list(told("b.html")["layers"]) == ["scan", "result"]
    save("other.nii.gz", load(source), load(source).stored + np.int16(1))
    code, out, err = run("view", "out/b.nii.gz", "--scan", "other.nii.gz", "-o", "c.html")
    assert (code, out) == (3, "") and "error[hash]: other.nii.gz: is not the scan that was inpainted" in err
    assert not Path("c.html").exists()


def test_a_mask_file_is_told_by_what_was_changed(run: Run, source: Path) -> None:
    scan = load(source)
    known = parse("0.4").draw(SHAPE, seed=2)
    save("m.nii.gz", scan, (~known).astype(np.uint8))
    assert run("inpaint", source, "--mask", "m.nii.gz", "--samples", 2, "-o", "out/a.nii.gz")[0] == 0
    for more, layers in ((("--scan", source), ["scan", "result", "spread"]), ((), ["result", "spread"])):
        assert run("view", "out/a.nii.gz", "--overwrite", *more)[0] == 0
        page = told("a.html")
        drawn = load("out/a_std.nii.gz").stored > 0
        changed = drawn | (load("out/a.nii.gz").stored != scan.stored) if more else drawn
        assert list(page["layers"]) == layers and same_hidden(page, ~changed) and changed[~known].mean() > 0.4
        assert any(note.startswith("Marked as hidden is what was changed") for note in page["notes"])
    Path("out/a_std.nii.gz").unlink()
    assert run("view", "out/a.nii.gz", "--overwrite")[0] == 0
    page = told("a.html")
    assert page["hidden"] is None and any("What was hidden is not marked" in note for note in page["notes"])


def test_a_mask_at_the_heart_needs_the_scan(run: Run, source: Path) -> None:
    assert run("inpaint", source, "--mask", "heart:0.3", "-o", "data/a_inpainted.nii.gz", "--preview")[0] == 0
    assert run("view", "data/a_inpainted.nii.gz")[0] == 0
    assert Path("a_inpainted.html").read_bytes() == Path("data/a_inpainted.html").read_bytes()
    source.unlink()
    assert run("view", "data/a_inpainted.nii.gz", "-o", "b.html")[0] == 0
    page = told("b.html")
    assert page["hidden"] is None and list(page["layers"]) == ["result"]


def test_generated_scans_are_shown(run: Run, source: Path) -> None:
    assert run("generate", "-n", 3, "--slices", 2, "-o", "g", "--preview")[0] == 0
    page = told("g/preview.html")
    assert list(page["layers"]) == ["scan 1", "scan 2", "scan 3"] and page["hidden"] is None
    assert run("view", "g/generated-0002.nii.gz")[0] == 0
    one = told("generated-0002.html")
    assert list(one["layers"]) == ["scan 2"] and one["title"] == "Generated scan" and one["hidden"] is None
    assert run("generate", "--like", source, "--mask", "slices:every=2", "-o", "h", "--preview")[0] == 0
    assert run("view", "h/generated-0001.nii.gz")[0] == 0
    kept = parse("slices:every=2").draw(SHAPE, seed=0)
    for name in ("h/preview.html", "generated-0001.html"):
        page = told(name)
        assert list(page["layers"]) == ["scan 1"] and same_hidden(page, kept), (
            name
        )  # nothing of what it was like is shown
    code, out, err = run("view", "g/generated-0001.nii.gz", "--scan", source, "-o", "b.html")
    assert (code, out) == (2, "") and "error[usage]: option --scan: goes with" in err


def test_any_scan_is_shown_alone(run: Run, source: Path) -> None:
    assert run("view", source)[0] == 0
    page = told("a.html")
    assert list(page["layers"]) == ["scan"] and page["title"] == "Scan" and page["hidden"] is None
    assert "synthetic" not in page["text"].split("<script")[0].split("<body")[1]
    (source.parent / "a.json").write_text('{"EchoTime": 0.001}')  # BIDS puts such files there
    assert run("view", source, "--overwrite")[2] == ""
    assert run("generate", "-o", "g")[0] == 0
    Path("g/generated-0001.json").unlink()
    assert run("view", "g/generated-0001.nii.gz")[0] == 0
    assert "synthetic" in told("generated-0001.html")["text"].split("<script")[0].split("<body")[1]


@pytest.mark.parametrize(
    ("args", "code", "exit_code"),
    [
        ((), "usage", 2),
        (("none.nii.gz",), "not-found", 3),
        (("data",), "not-a-file", 3),
        (("text.nii",), "not-nifti", 3),
        (("data/a.nii.gz", "-o", "a.png"), "usage", 2),
        (("data/a.nii.gz", "-o", "none/deep/a.html"), "io", 6),
        (("data/a.nii.gz", "-o", "folder.html"), "exists", 2),
        (("data/a.nii.gz", "--scan", "data/a.nii.gz"), "usage", 2),
    ],
)
def test_refusals_are_one_line(run: Run, source: Path, args: tuple[str, ...], code: str, exit_code: int) -> None:
    Path("text.nii").write_text("hello " * 100)
    Path("folder.html").mkdir()
    got, out, err = run("view", *args)
    match = re.fullmatch(r"cmrgz: error\[([a-z-]+)\]: .+: .+\n", err)
    assert (got, out) == (exit_code, "") and match and match[1] == code, err


def test_a_damaged_sidecar_is_not_used(run: Run, source: Path, tmp_path: Path) -> None:
    assert run("inpaint", source, "--mask", "0.5", "-o", "b.nii.gz")[0] == 0
    whole = json.loads(Path("b.json").read_text())
    damaged: list[Any] = ["{", "[]", json.dumps(whole)[:-9]]
    for name in ("seed", "scale", "outputs", "options", "mask", "input", "refine", "image_is"):
        damaged += [{**whole, name: odd} for odd in (-5.5, [], {"sha256": "x"})]
    damaged += [{**whole, "outputs": {"image": {"sha256": "0" * 64}}}, {**whole, "seed": -1}]
    for content in damaged:
        Path("b.json").write_text(content if isinstance(content, str) else json.dumps(content))
        code, _, err = run("view", "b.nii.gz", "--overwrite")
        assert code == 0 and err.count("\n") <= 1 and ("warning[sidecar]" in err or not err), (content, err)
        assert list(told("b.html")["layers"]) == ["scan"]
    odd = {**whole, "mask": {**whole["mask"], "spec": "../../x.nii"}}
    Path("b.json").write_text(json.dumps(odd))
    assert run("view", "b.nii.gz", "--overwrite")[0] == 0
    assert any("What was hidden is not marked" in note for note in told("b.html")["notes"])


def test_hostile_names_change_nothing(run: Run, source: Path) -> None:
    names = ["plain.nii.gz", "<script>alert(1)<", "DOE^JANE 19630715 \"'&", "$title ${data}", "\udcff\udc80"]
    assert run("inpaint", source, "--mask", "0.5", "-o", "b.nii.gz")[0] == 0
    pages = set()
    for number, name in enumerate(names):
        shutil.copy("b.nii.gz", f"{name}_inpainted.nii.gz")
        shutil.copy("b.json", f"{name}_inpainted.json")
        shutil.copy(source, f"{name}.nii.gz")
        assert run("view", f"{name}_inpainted.nii.gz", "-o", f"{number}.html")[0] == 0
        pages.add(Path(f"{number}.html").read_bytes())
    assert len(pages) == 1


def test_a_page_is_old_new_or_absent(run: Run, source: Path, deaths: Any) -> None:
    from cmrgz.scans.view import view

    def work() -> None:
        view(source, Path("a.html"), overwrite=True)

    operations = deaths.operations(work)
    new = Path("a.html").read_bytes()
    for old in (b"", b"old"):
        for n in range(1, operations + 1):
            Path("a.html").unlink()
            if old:
                Path("a.html").write_bytes(old)
            assert deaths.at(work, f"{n}:half")
            assert (Path("a.html").read_bytes() if Path("a.html").exists() else b"") in (old, new)
            work()
            assert {path.name for path in Path().iterdir()} == {"a.html", "data"}


def test_view_needs_no_torch(run: Run, source: Path) -> None:
    assert run("inpaint", source, "--mask", "0.5", "--samples", 2, "-o", "data/a_inpainted.nii.gz")[0] == 0
    code = "import sys; from cmrgz.cli import main; assert main(['view', 'data/a_inpainted.nii.gz']) == 0; "
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
    assert list(told("a_inpainted.html")["layers"]) == ["scan", "result", "spread"]
