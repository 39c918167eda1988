"""`cmrgz measure`: volumes by labels and by the segmenter, and of draws of what is hidden."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmrgz.data.masks import parse
from cmrgz.data.phantom.render import label_truth
from cmrgz.data.scan import Scan, load, save

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
LINE = re.compile(r"cmrgz: error\[([a-z-]+)\]: (.+): .+\n")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(command_line: Run) -> Run:
    """Return a function that runs `cmrgz measure` in a folder with a virtual cine."""
    shutil.copy(EXAMPLES / "phantom.nii.gz", "heart.nii.gz")
    return partial(command_line, "measure")


def measured(out: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(out)["measured"]
    return rows


def part(source: str, target: str, where: Any) -> None:
    """Write a part (t, z, y, x) of a scan."""
    scan = load(source)
    save(target, replace(scan, stored=np.ascontiguousarray(scan.stored[where])))


def test_labels_and_segmenter_agree_on_a_phantom(run: Run) -> None:
    shutil.copy(EXAMPLES / "phantom_label.nii.gz", "heart_label.nii.gz")
    code, out, err = run("heart.nii.gz", "--json", "-o", "table.csv")
    assert code == 0, err
    by_labels, by_segmenter = measured(out)
    assert [row["source"] for row in (by_labels, by_segmenter)] == ["labels", "segmenter"]
    labels = load("heart_label.nii.gz")
    truth = label_truth(labels.stored.astype(np.uint8), labels.spacing[1], labels.spacing[0], by_labels["es"] - 1)
    assert by_labels["ed"] == 1
    for name, value in truth.items():
        if name != "es_frame":
            assert by_labels[name] == pytest.approx(value, rel=1e-5)
            assert by_segmenter[name] == pytest.approx(value, rel=0.15, abs=0.05), name
    (first, second) = csv.DictReader(Path("table.csv").read_text().splitlines())
    assert first["source"] == "labels" and float(second["LVEF"]) == by_segmenter["LVEF"]
    code, out, err = run("heart.nii.gz")
    head, *lines = out.splitlines()
    assert "LVEF %" in head and len(lines) == 2 and f"{100 * by_labels['LVEF']:.0f}" in lines[0].split()


def test_draws_are_measured(run: Run, tiny_checkpoint: Path) -> None:
    part("heart.nii.gz", "small.nii.gz", np.s_[::3, 2:4, 48:112, 48:112])
    words = ("--model", tiny_checkpoint)
    nothing = measured(run("small.nii.gz", "--mask", "0", "--samples", 2, "--json", *words)[1])
    whole, draws = nothing
    assert draws["source"] == "draws" and draws["hidden_fraction"] == 0
    for name in ("LVEDV", "LVEF", "RVESV", "LVM_ED"):  # given everything, a draw is the scan
        assert draws[name] == draws["low"][name] == draws["high"][name] == whole[name]
    code, out, err = run("small.nii.gz", "--mask", "0.1,size=8", "--samples", 2, "--json", *words)
    assert code == 0 and "neighbouring phases" in err
    _, draws = measured(out)
    assert (draws["samples"], draws["interval"], draws["hidden_fraction"]) == (
        2,
        0.333333,
        pytest.approx(0.1, abs=0.01),
    )
    values = draws["draws"]["LVSV"]
    assert len(set(values)) > 1 and draws["LVSV"] == pytest.approx(np.median(values))
    assert (min(values), max(values)) == (draws["low"]["LVSV"], draws["high"]["LVSV"])
    noisy = load("small.nii.gz")
    known = parse("0.1,size=8").draw(noisy.shape, seed=0)
    rng = np.random.default_rng(0)  # nor need there be a heart in it
    stored = np.where(known, noisy.stored, rng.integers(0, 900, noisy.shape)).astype(noisy.stored.dtype)
    save("noisy.nii.gz", replace(noisy, stored=stored))
    again = measured(run("noisy.nii.gz", "--mask", "0.1,size=8", "--samples", 2, "--json", *words)[1])[-1]
    assert again["draws"] == draws["draws"]  # what is hidden is not looked at
    code, out, _ = run("small.nii.gz", "--mask", "0", "--samples", 2, *words)
    assert code == 0 and re.search(r"draws +2 +2 .*\d \(\d+\.\.\d+\)", out) and "interval of 33 %" in out


def test_one_phase_has_no_ejection_fraction(run: Run) -> None:
    part("heart.nii.gz", "one.nii.gz", np.s_[:1])
    code, out, err = run("one.nii.gz", "--json")
    (row,) = measured(out)
    assert code == 0 and "warning[no-cycle]: one.nii.gz: has one phase" in err
    assert row["LVEDV"] > 50 and row["LVM_ED"] > 50 and row["LVESV"] is row["LVEF"] is row["RVSV"] is None
    assert " - " in run("one.nii.gz")[1]


def test_labels_of_two_frames_and_without_a_right_ventricle(run: Run) -> None:
    shutil.copy(EXAMPLES / "phantom_label.nii.gz", "heart_label.nii.gz")
    labels = load("heart_label.nii.gz")
    stored = np.where(labels.stored == 1, 0, labels.stored)
    stored[[1, 2, 4, 5]] = 0
    save("heart_label.nii.gz", replace(labels, stored=stored.astype(labels.stored.dtype)), overwrite=True)
    by_labels = measured(run("heart.nii.gz", "--json")[1])[0]
    assert (by_labels["ed"], by_labels["es"]) == (1, 4) and 0 < by_labels["LVEF"] < 1
    assert by_labels["RVEDV"] is by_labels["RVEF"] is None


def test_where_there_is_no_heart_that_is_told(run: Run) -> None:
    rng = np.random.default_rng(0)
    blank = Scan.blank((2, 2, 96, 96), (8.0, 1.4, 1.4), 0.04)
    Path("several").mkdir()
    save("several/noise.nii.gz", blank, rng.integers(0, 900, blank.shape).astype(np.int16))
    code, out, err = run("several/noise.nii.gz")
    match = LINE.fullmatch(err)
    assert (code, out) == (3, "") and match and match[1] == "no-heart"
    part("heart.nii.gz", "several/heart.nii.gz", np.s_[::3, 2:4])
    code, out, err = run("several", "--json")
    told = json.loads(out)
    assert code == 8 and [row["scan"] for row in told["measured"]] == ["several/heart.nii.gz"]
    assert [error["code"] for error in told["failed"]] == ["no-heart"] and "1 of 2 scans were refused" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), "usage", "SCAN"),
        (("heart.nii.gz", "--samples", "3"), "usage", "option --samples: goes with --mask"),
        (("heart.nii.gz", "--set", "x=3"), "usage", "option --set: goes with --mask"),
        (("heart.nii.gz", "--mask", "0.5"), "usage", "option --model: is missing"),
        (("heart.nii.gz", "--mask", "0.5x", "-m", "ar-vq"), "usage", "option --mask"),
        (("heart.nii.gz", "--mask", "0.5", "-m", "ar-vq", "--samples", "0"), "range", "option --samples"),
        (("heart.nii.gz", "--mask", "slices:9", "-m", "ar-vq"), "range", "the scan has the slices 1 .. 6"),
        (("heart.nii.gz", "-o", "a.txt"), "usage", "end its name in .csv"),
        (("heart.nii.gz", "-o", "there.csv"), "exists", "there.csv"),
        (("none.nii.gz",), "not-found", "none.nii.gz"),
    ],
)
def test_bad_input_is_one_line(run: Run, words: tuple[str, ...], code: str, said: str) -> None:
    Path("there.csv").write_text("")
    exit_code, out, err = run(*words)
    match = LINE.fullmatch(err)
    assert exit_code in (2, 3) and out == "" and match and match[1] == code and said in err


def test_help_is_light() -> None:
    code = (
        "import sys; from cmrgz.cli import main; main(['measure', '--help']); "
        "heavy = {'torch', 'scipy', 'nibabel'} & sys.modules.keys(); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "--samples" in done.stdout, done.stderr
