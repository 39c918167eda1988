"""`cmrgz evaluate` as a user meets it: runs, goes on, tells what is wrong in one line."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cmrgz.cli import main
from cmrgz.cli.evaluate import _with_plan
from cmrgz.data import cases
from cmrgz.data.scan import load, save
from cmrgz.evaluation.store import JOURNAL, read_lines

Args = list[str]


@pytest.fixture(scope="module")
def args(phantoms: Path, training: Path, tiny_checkpoint: Path) -> Args:
    return [
        "evaluate", str(phantoms), "--bank", str(training), "--model", str(tiny_checkpoint), "--device", "cpu",
        "--frames", "1", "--quiet",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def done(args: Args, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run of one mask."""
    root = tmp_path_factory.mktemp("runs") / "one"
    assert main([*args, "--mask", "patch:0.5,size=8", "-o", str(root)]) == 0
    return root


def test_a_run_leaves_a_report_and_its_numbers(done: Path) -> None:
    names = {path.name for path in done.iterdir()}
    assert {"report.html", "report.md", "summary.json", "estimates.csv", "sets.csv", JOURNAL, "sweep.json"} <= names
    assert str(done) not in (done / "report.html").read_text()
    assert "sub-" not in (done / "report.html").read_text() + (done / "sweep.json").read_text()


def test_the_table_is_printed_and_the_report_named(args: Args, done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "report", str(done)]) == 0
    printed = capsys.readouterr().out
    assert "harmonic" in printed and "round-trip vq" in printed
    assert printed.rstrip().endswith("report.html")
    assert main(["evaluate", "report", str(done), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"][0].endswith("report.html")


def test_a_report_is_made_without_torch(done: Path) -> None:
    code = (
        "import sys; from cmrgz.cli import main; "
        f"assert main(['evaluate', 'report', {str(done)!r}, '--quiet']) == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=300)


def test_the_same_command_does_nothing_again_and_another_mask_adds(args: Args, done: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(done, root)
    before = len(read_lines(root))
    assert main([*args, "--mask", "patch:0.5,size=8", "-o", str(root)]) == 0
    assert len(read_lines(root)) == before
    assert main([*args, "--mask", "half:top", "-o", str(root), "--no-baselines"]) == 0
    assert len(read_lines(root)) == before + 1


def test_a_sweep_file_may_follow_the_flag(args: Args, tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("patterns: ['patch:0.25,size=8', 'patch:0.75,size=8']\nbaselines: false\nsamples: 3\n")
    assert main([*args, "--sweep", str(file), "-o", str(tmp_path / "run")]) == 0
    facts = [line.facts for line in read_lines(tmp_path / "run") if line.facts["kind"] == "model"]
    assert {f["mask"] for f in facts} == {"patch:0.25,size=8", "patch:0.75,size=8"}
    assert {f["samples"] for f in facts} == {3}
    assert _with_plan(["--sweep", "a.nii.gz"]) == ["--sweep", "a.nii.gz"]


def test_a_dry_run_tells_cells_and_time_and_writes_nothing(
    args: Args, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*args, "--mask", "patch:0.5,size=8", "-o", str(tmp_path / "run"), "--dry-run"]) == 0
    assert "cells" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    assert main([*args, "--mask", "patch:0.5,size=8", "-o", str(tmp_path / "run"), "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["done"] == 0 and plan["seconds"] > 0 and plan["memory_mb"] > 0
    assert plan["cells"] > sum(row["cells"] for row in plan["methods"]) / 2


@pytest.fixture(scope="module")
def sources(phantoms: Path, training: Path, tiny_checkpoint: Path) -> Args:
    return ["--data", str(phantoms), "--bank", str(training), "--model", str(tiny_checkpoint), "--device", "cpu"]


def test_cells_that_are_done_again_are_equal(done: Path, sources: Args, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "verify", str(done), "--cells", "12", *sources]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 12 and all(line.startswith("equal") for line in printed)


def test_no_path_is_stored(done: Path, phantoms: Path, training: Path, tiny_checkpoint: Path) -> None:
    """Not in any byte of the run, but of the file that is there for it: neither of the data nor of a checkpoint."""
    for file in (path for path in done.rglob("*") if path.is_file() and path.name != "sources.json"):
        data = file.read_bytes()
        for path in (phantoms, training, tiny_checkpoint):
            assert str(path).encode() not in data and path.parent.name.encode() not in data, file.name


def test_a_run_is_verified_without_its_data_named_again(
    done: Path, sources: Args, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "verify", str(done), "--cells", "4", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.count("equal") == 4
    root = tmp_path / "passed on"
    shutil.copytree(done, root, ignore=shutil.ignore_patterns("sources.json"))
    assert main(["evaluate", "verify", str(root), "--cells", "1", *sources]) == 0, "named again"


def test_a_mask_file_is_evaluated_and_verified_and_its_path_not_stored(
    phantoms: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = cases.find(phantoms)[0]
    scan = load(case.image)
    known = np.ones(scan.shape, np.int16)
    known[0, :, 24:40, 24:40] = 0
    mask, root = tmp_path / "of-sub-1.nii.gz", tmp_path / "run"
    save(mask, dataclasses.replace(scan, stored=known, slope=1.0, inter=0.0))
    options = ["--mask", str(mask), "--mask-label", "known", "--model", str(tiny_checkpoint), "--samples", "1"]
    assert main(["evaluate", str(case.image), *options, "--no-baselines", "--device", "cpu", "-o", str(root)]) == 0
    assert main(["evaluate", "verify", str(root), "--cells", "9", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.count("equal") >= 3
    for file in root.rglob("*"):
        assert file.is_dir() or file.name == "sources.json" or b"of-sub-1" not in file.read_bytes()


def test_other_data_than_that_of_the_run_are_told(
    done: Path, phantoms: Path, training: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swapped = ["--data", str(training), "--bank", str(phantoms)]
    assert main(["evaluate", "verify", str(done), *swapped, "--device", "cpu"]) == 4
    error = capsys.readouterr().err
    assert "none of its cells" in error and f"sources.json: data {str(training)[:30]}" in error


def test_a_number_that_was_changed_is_found(
    done: Path, sources: Args, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from cmrgz.durable.arrays import pack
    from cmrgz.evaluation.store import Store, read_results, result_path

    root = tmp_path / "run"
    shutil.copytree(done, root)
    line = next(line for line in read_lines(root) if line.facts["method"] == "harmonic")
    arrays = read_results(root, line)
    arrays["metrics"] = arrays["metrics"] + 1e-9
    result_path(root, line.unit).unlink()
    journal = (root / JOURNAL).read_bytes().splitlines(keepends=True)
    (root / JOURNAL).write_bytes(b"".join(entry for entry in journal if line.unit.encode() not in entry))
    with Store(root) as store:
        store.put(line.unit, line.cells, pack(arrays), line.facts)
    assert main(["evaluate", "verify", str(root), "--cells", "1000", *sources]) == 8
    printed = capsys.readouterr()
    differing = [text for text in printed.out.splitlines() if text.startswith("differs")]
    assert len(differing) == 4 and all("harmonic" in text for text in differing)


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--model", "ar-vqq"], 2, "ar-vq"),
        (["--mask", "patsh:0.5"], 2, "patch"),
        (["--mask", "frames:every=2", "--context", "1x3"], 2, "frames"),
        (["--context", "3"], 2, "context"),
        (["--mask", "no-such-mask.nii.gz"], 3, "no-such-mask"),
        (["--samples", "0"], 2, "samples"),
        (["--preset", "huge"], 2, "preset"),
        (["--frames", "every"], 2, "frames"),
        (["--sweep", "no-such-file.yaml"], 2, "no-such-file.yaml"),
    ],
)
def test_wrong_commands_are_one_line(
    args: Args, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: Args, code: int, said: str
) -> None:
    given = args if "--frames" not in more else [a for a in args if a not in ("--frames", "1")]
    assert main([*given, *more, "-o", str(tmp_path / "run")]) == code
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and said in error[0]


def test_missing_data_and_a_patient_in_two_sets_are_refused(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["-o", str(tmp_path / "run"), "--quiet", "--model", "ar-vq"]
    assert main(["evaluate", str(tmp_path / "nothing"), *run]) == 3
    assert "not-found" in capsys.readouterr().err
    assert main(["evaluate", str(phantoms), "--bank", str(phantoms), *run]) == 3
    assert "leak" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("report", "verify", "repair"):
        assert main(["evaluate", command, str(tmp_path)]) == 3
        assert "no run" in capsys.readouterr().err


def test_a_damaged_journal_is_repaired_from_the_command_line(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "run"
    shutil.copytree(done, root)
    lines = (root / JOURNAL).read_bytes().splitlines(keepends=True)
    (root / JOURNAL).write_bytes(b"".join([lines[0][:40] + b"X" + lines[0][41:], *lines[1:]]))
    assert main(["evaluate", "report", str(root)]) == 4
    assert "evaluate repair" in capsys.readouterr().err
    assert main(["evaluate", "repair", str(root)]) == 0
    assert f"{len(lines) - 1} lines kept, 1 dropped" in capsys.readouterr().out
    assert main(["evaluate", "report", str(root)]) == 0


def test_help_names_the_other_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "--sweep" in printed and "verify" in printed and "Not a medical device" in printed
