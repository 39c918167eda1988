"""`cmrgz metrics` lists what evaluate measures, and imports no torch for it."""

import json
import subprocess
import sys

import pytest

from cmrgz.cli import main
from cmrgz.cli.metrics import HEADLINES


def test_every_metric_is_listed_with_its_direction(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["psnr-hole"]["better"] == "higher" and rows["psnr-hole"]["unit"] == "dB"
    assert rows["energy-hole"]["least"] == 2 and rows["kappa"]["kind"] == "ratio" and rows["kid"]["kind"] == "set"
    assert main(["metrics"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line for line in lines if line.startswith("  ")]
    assert sorted(line.split()[0] for line in listed) == sorted(rows), "one line a metric"
    assert lines[0] == "Headlines" and [line.split()[0] for line in listed[:4]] == [*HEADLINES[:4]]
    assert set(HEADLINES) <= rows.keys()
    for row in rows.values():
        assert row["summary"][:1].strip() and row["summary"].endswith("."), f"{row['name']} needs a first sentence"
        assert row["group"] != "Other", row["name"]


def test_one_metric_is_shown_and_a_wrong_name_meets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "kid"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("kid\nKernel distance") and "lower better" in told and "Binkowski" in told
    assert main(["metrics", "psnr-hol"]) == 2
    assert "psnr-hole" in capsys.readouterr().err


def test_torch_is_not_imported() -> None:
    code = "import sys; from cmrgz.cli import main; main(['metrics', '--json']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0
