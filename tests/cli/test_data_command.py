"""`cmrgz data`: what it prints, writes and returns."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cmrgz.cli.data import app
from cmrgz.data.cases import find
from cmrgz.errors import CmrgzError

TINY = ("--size", "32", "--spacing", "6", "--phases", "2", "--lite")


def run(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args])


def test_phantom_then_check(tmp_path: Path) -> None:
    out = tmp_path / "phantoms"
    result = run("phantom", out, "--subjects", 2, "--seed", 9, "--group", "DCM", *TINY)
    assert result.exit_code == 0 and result.stderr == ""
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [["sub-0009", "DCM"], ["sub-0010", "DCM"]]
    assert [c.subject for c in find(out)] == ["sub-0009", "sub-0010"]
    result = run("check", out)
    told = "layout: manifest\ngroups: DCM 2\nsex: M 2\norder of labels: rv=1,myo=2,lv=3 2\n"
    told += "volumes known: EF 2, EDV 2\n"
    told += "2 scans of 2 subjects (told by the manifest), 2 with labels: 0 bad\n"
    assert (result.exit_code, result.stdout) == (0, told)


def test_json(tmp_path: Path) -> None:
    records = json.loads(
        run("phantom", tmp_path / "p", "--subjects", 1, "--json", "--slices", 2, "--plain", *TINY).stdout
    )
    assert [r["id"] for r in records] == ["sub-0000"] and len(records[0]["slices"]) == 2
    assert json.loads(run("check", tmp_path / "p", "--json").stdout) == {
        "layouts": ["manifest"],
        "scans": 1,
        "subjects": 1,
        "subjects_told_by": ["the manifest"],
        "labels": 1,
        "says": {
            "groups": {records[0]["group"]: 1},
            "sex": {records[0]["sex"]: 1},
            "order of labels": {"rv=1,myo=2,lv=3": 1},
            "volumes known": {"EF": 1, "EDV": 1},
        },
        "left_out": [],
        "bad": [],
    }


def test_bad_scans_are_all_named(tmp_path: Path) -> None:
    run("phantom", tmp_path, "--subjects", 2, *TINY)
    for k in (0, 1):
        (tmp_path / f"sub-000{k}/cine.nii.gz").write_bytes(b"")
    result = run("check", tmp_path, "--json")
    assert result.exit_code == 3
    lines = result.stderr.splitlines()
    assert [line.split(":")[1] for line in lines] == [" error[empty]", " error[empty]"]
    faults = json.loads(result.stdout)["bad"]
    assert all(fault["where"][-22:] in line for fault, line in zip(faults, lines, strict=True))


@pytest.mark.parametrize(
    ("args", "code", "exit_code"),
    [
        (("phantom", "OUT", "--group", "DMC"), "range", 2),
        (("phantom", "OUT", "--size", "4"), "range", 2),
        (("phantom", "OUT", "--lite", "--slices", "99"), "range", 2),
        (("check", "OUT"), "not-found", 3),
        ((), "unknown-command", 2),
    ],
)
def test_refusals(tmp_path: Path, args: tuple[str, ...], code: str, exit_code: int) -> None:
    error = run(*(str(tmp_path / "out") if a == "OUT" else a for a in args)).exception
    assert isinstance(error, CmrgzError)
    assert (error.code, error.exit_code) == (code, exit_code)
    assert not list(tmp_path.rglob("*.nii.gz"))


def test_overwrite(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("image\n")
    error = run("phantom", tmp_path, "--subjects", 1, *TINY).exception
    assert isinstance(error, CmrgzError) and error.code == "exists"
    assert run("phantom", tmp_path, "--subjects", 1, "--overwrite", *TINY).exit_code == 0
