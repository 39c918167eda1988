"""Cohorts and counterfactuals from the command line: asked for, drawn, measured, gone on with."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from cmrgz.cli import main
from cmrgz.data import cases
from cmrgz.data.scan import Scan, load, save
from cmrgz.scans.asked import PRIMES, Spread

LINE = re.compile(r"cmrgz: error\[([a-z-]+)\]: .+: .+\n")
Run = Callable[..., tuple[int, str, str]]
CHEAP = ("--set", "steps=2")
COHORT = ("-n", 4, "--phases", 3, "--slices", 2, "--condition", "ef=0.2..0.7", "--condition", "group=DCM,NOR", *CHEAP)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny model of blocks that was trained with conditions from the command line."""
    folder = tmp_path_factory.mktemp("trained")
    rows = ["image,group,ef,split"]
    for n, group in enumerate(("DCM", "NOR", "NOR")):
        scan = Scan.blank((4, 2, 72, 64), (10.0, 1.4, 1.4), 0.05)
        voxels = np.random.default_rng(n).integers(0, 500, scan.shape).astype(np.int16)
        save(folder / f"p{n}.nii.gz", scan, voxels)
        rows.append(f"p{n}.nii.gz,{group},{0.3 + n / 10},{'val' if n == 2 else 'train'}")
    (folder / "manifest.csv").write_text("\n".join(rows))
    options = "size=tiny item=2,2,64,64 conditions=group,ef steps=3 batch_size=2 fit_items=8 ema=0.1 warmup=0 lr=0.02"
    sets = [part for option in options.split() for part in ("--set", option)]
    told = ["train", "ldm-unet", str(folder / "manifest.csv"), "-o", str(folder / "run"), "--device", "cpu", *sets]
    assert main(told) == 0
    return folder / "run" / "checkpoint"


@pytest.fixture
def run(trained: Path, command_line: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command line."""
    monkeypatch.setenv("CMRGZ_MODEL", str(trained))
    return command_line


def write_scan(path: Path, shape: tuple[int, int, int, int] = (3, 2, 64, 64)) -> Scan:
    scan = Scan.blank(shape, (8.0, 1.4, 1.4), 0.05)
    values = 300 + 100 * np.random.default_rng(0).standard_normal(shape)
    save(path, scan, values.astype(np.float32))
    return load(path)


def told(path: str | Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(Path(path).read_text())
    return facts


def rows_of(path: str | Path) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(path).read_text().splitlines()))


# ---------------------------------------------------------------------- what is asked
REFUSED = [
    ("group=DCN", "range", "'group' has no value 'DCN' (it has DCM, NOR); did you mean 'DCM'?"),
    ("group=dcm", "range", "did you mean 'DCM'?"),
    ("group=RV", "range", "'group' has no value 'RV' (it has DCM, NOR)"),
    ("gruop=DCM", "unknown-key", "it knows phase, slice, row, column, group, ef); did you mean 'group'?"),
    ("sex=F", "unknown-key", "does not know 'sex'"),
    ("edv=100", "unknown-key", "cmrgz train ldm-unet DATA --set conditions=edv"),
    ("ef=58", "range", "'ef' must be 0 .. 1, got 58"),
    ("ef=low", "type", "'ef' must be float"),
    ("group", "usage", "is not name=value"),
]


@pytest.mark.parametrize(("condition", "code", "what"), REFUSED, ids=[row[0] for row in REFUSED])
@pytest.mark.parametrize("command", ["inpaint", "generate"])
def test_what_a_model_does_not_know_is_refused_in_one_line(
    run: Run, tmp_path: Path, command: str, condition: str, code: str, what: str
) -> None:
    if command == "inpaint":
        write_scan(tmp_path / "a.nii.gz", (2, 1, 32, 32))
    given = ("a.nii.gz", "--mask", "0.5") if command == "inpaint" else ()
    got, out, err = run(command, *given, "--condition", condition)
    lines = [line for line in err.splitlines(keepends=True) if ": info[" not in line]
    match = LINE.fullmatch("".join(lines))
    assert (got, out) == (2, "") and match and match[1] == code and what in err, err


def test_only_generate_spreads_conditions(run: Run, tmp_path: Path) -> None:
    write_scan(tmp_path / "a.nii.gz", (2, 1, 32, 32))
    for condition, code in (("ef=0.2..0.7", "type"), ("group=DCM,NOR", "range")):
        got, _, err = run("inpaint", "a.nii.gz", "--mask", "0.5", "--condition", condition)
        assert got == 2 and f"[{code}]" in err
    for condition, what in (("ef=0.7..0.2", "from the lower to the higher"), ("ef=0.2..7", "0 .. 1"),
                            ("group=DCM,RV", "no value 'RV'")):  # fmt: skip
        got, _, err = run("generate", "--condition", condition)
        assert got == 2 and what in err


def test_bundled_models_know_no_patients_and_say_so(run: Run) -> None:
    code, _, err = run("generate", "-m", "ldm-unet", "--condition", "group=DCM")
    assert code == 2 and "'ldm-unet' does not know 'group' (it knows phase, slice, row, column)" in err


def test_models_tells_conditions_and_their_values(run: Run, trained: Path) -> None:
    code, out, _ = run("models", trained)
    assert code == 0 and "phase, slice, row, column, group, ef" in out
    assert "  group=DCM, NOR\n" in out and "  ef=0 .. 1\n" in out
    facts = json.loads(run("models", trained, "--json")[1])
    assert facts["condition_values"] == {"phase": "0 .. 1", "slice": "0 .. 1", "group": ["DCM", "NOR"], "ef": "0 .. 1"}
    facts = json.loads(run("models", "ldm-unet", "--json")[1])
    assert facts["conditions"] == ["phase", "slice", "row", "column"]
    code, _, err = run("models", trained.parent)
    assert code == 4 and "no-checkpoint" in err


def test_spreads_are_even_and_of_one_another_independent() -> None:
    ef, group = Spread((0.2, 0.7), PRIMES[1]), Spread(("DCM", "NOR"), PRIMES[0])
    for n in (8, 24, 100):
        asked, ill = np.array([ef.of(k) for k in range(n)], float), np.array([group.of(k) == "DCM" for k in range(n)])
        assert abs(asked.mean() - 0.45) < 0.5 / n + 0.02 and abs(ill.mean() - 0.5) <= 1 / n
        assert asked.min() > 0.2 and asked.max() < 0.7 and np.ptp(asked) > 0.35
        assert abs(np.corrcoef(asked, ill)[0, 1]) < 2 / np.sqrt(n)


# ---------------------------------------------------------------------- counterfactuals
def test_a_counterfactual_keeps_the_rest_to_the_bit(run: Run, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "a.nii.gz")
    hidden = np.zeros(scan.shape, np.uint8)
    hidden[..., 24:48, 20:44] = 1
    save("heart.nii.gz", scan, hidden)
    made = {}
    for group in ("DCM", "NOR", ""):
        more = ("--condition", f"group={group}") if group else ()
        name = f"{group or 'none'}.nii.gz"
        assert run("inpaint", "a.nii.gz", "--mask", "heart.nii.gz", "-o", name, *more, *CHEAP)[0] == 0
        made[group] = load(name).stored
        assert np.array_equal(made[group][hidden == 0], scan.stored[hidden == 0])
        assert told(name.replace(".nii.gz", ".json"))["condition"] == ({"group": group} if group else {})
    assert not np.array_equal(made["DCM"], made["NOR"]) and not np.array_equal(made["DCM"], made[""])
    assert run("inpaint", "a.nii.gz", "--mask", "heart:0.9", "--condition", "ef=0.3", "-o", "b.nii.gz", *CHEAP)[0] == 0


def test_a_batch_that_was_told_something_else_is_not_gone_on_with(run: Run, tmp_path: Path) -> None:
    write_scan(tmp_path / "a.nii.gz", (2, 1, 64, 64))
    given = ("inpaint", "a.nii.gz", "--mask", "0.5", "-o", "b.nii.gz", "--skip-existing", *CHEAP)
    assert run(*given, "--condition", "ef=0.3")[0] == 0
    assert "skipped" in run(*given, "--condition", "ef=0.3")[2]
    for more in ((), ("--condition", "ef=0.4"), ("--condition", "group=DCM")):
        code, _, err = run(*given, *more)
        assert code == 2 and "config-mismatch" in err and "another condition" in err


# ---------------------------------------------------------------------- cohorts
@pytest.fixture(scope="module")
def cohort(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "c"
    assert (
        main(["generate", "-m", str(trained), "--device", "cpu", "-o", str(folder), "--segment", *map(str, COHORT)])
        == 0
    )
    return folder


def test_a_cohort_has_images_labels_a_manifest_and_a_report(cohort: Path) -> None:
    names = [f"generated-000{n}" for n in (1, 2, 3, 4)]
    ends = (".nii.gz", "_labels.nii.gz", ".json")
    assert {p.name for p in cohort.iterdir()} == {n + e for n in names for e in ends} | {"manifest.csv", "cohort.json"}
    rows = rows_of(cohort / "manifest.csv")
    assert [row["image"] for row in rows] == [f"{name}.nii.gz" for name in names]
    assert [row["group"] for row in rows] == ["NOR", "DCM", "NOR", "DCM"]
    for row, name in zip(rows, names, strict=True):
        facts = told(cohort / f"{name}.json")
        assert facts["condition"] == {"ef": pytest.approx(float(row["ef"]), rel=1e-5), "group": row["group"]}
        assert facts["measured"].keys() >= {"LVEDV", "LVESV", "LVEF"} and set(facts["outputs"]) == {"image", "labels"}
        image, labels = nib.load(cohort / row["image"]), nib.load(cohort / row["label"])
        assert labels.shape == image.shape == (64, 64, 2, 3) and labels.get_data_dtype() == np.uint8
        assert np.array_equal(labels.affine, image.affine)
        volume = (np.asarray(labels.dataobj) == 3).sum((0, 1, 2)).max() * 10 * 1.4 * 1.4 * 1e-3
        assert float(row["measured_lvedv"]) == pytest.approx(volume, rel=1e-5)
    report = told(cohort / "cohort.json")
    assert report["scans"] == 4 and report["by"]["group"].keys() == {"DCM", "NOR"}
    assert report["asked_and_measured"]["ef"]["measured"] == "LVEF" and "few-scans" in report["warnings"]


def test_a_cohort_is_a_data_set(cohort: Path) -> None:
    found = cases.find(cohort)
    assert [case.group for case in found] == ["NOR", "DCM", "NOR", "DCM"] and all(case.label for case in found)
    assert len({case.subject for case in found}) == 4 and all(0.2 < (case.ef or 0) < 0.7 for case in found)


def test_scan_n_is_the_same_alone_and_among_others(run: Run, cohort: Path) -> None:
    """However many there are, and whether it is asked alone or as a part of a spread."""
    row = rows_of(cohort / "manifest.csv")[1]
    ef = told(cohort / "generated-0002.json")["condition"]["ef"]
    given = ("-n", 2, "--phases", 3, "--slices", 2, *CHEAP)
    assert (
        run("generate", *given, "--condition", f"ef={ef!r}", "--condition", f"group={row['group']}", "-o", "d")[0] == 0
    )
    assert Path("d/generated-0002.nii.gz").read_bytes() == (cohort / "generated-0002.nii.gz").read_bytes()
    assert Path("d/generated-0001.nii.gz").read_bytes() != (cohort / "generated-0001.nii.gz").read_bytes()


def test_a_cohort_is_gone_on_with(run: Run, cohort: Path) -> None:
    given = ("generate", "-o", "c", "--segment", *COHORT)
    assert run(*given[:4], "-n", 3, *given[4:])[0] == 2  # a number that is given twice
    short = [3 if part == 4 else part for part in given]
    assert run(*short)[0] == 0
    for end in (".nii.gz", "_labels.nii.gz", ".json"):
        Path(f"c/generated-0002{end}").unlink()
    assert run(*given)[0] == 2  # there are some already
    code, out, err = run(*given, "--skip-existing")
    assert code == 0 and err.count("info[skipped]") == 2, err
    assert out.split() == ["c/generated-0002.nii.gz", "c/generated-0004.nii.gz", "c/manifest.csv", "c/cohort.json"]
    for name in ("manifest.csv", "cohort.json", *(f"generated-000{n}.nii.gz" for n in (1, 2, 3, 4))):
        assert Path("c", name).read_bytes() == (cohort / name).read_bytes(), name
    code, _, err = run(*given, "--skip-existing", "--condition", "phase=0.5")
    assert code == 2 and "another condition" in err
    facts = json.loads(run(*given, "--skip-existing", "--json")[1])
    assert facts["outputs"] == [] and len(facts["skipped"]) == 4 and facts["cohort"]["scans"] == 4


# ---------------------------------------------------------------------- like a scan
def test_scans_are_generated_like_one_and_keep_what_is_known(run: Run, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "a.nii.gz", (3, 3, 64, 64))
    given = ("generate", "--like", "a.nii.gz", "-n", 2, "--condition", "group=DCM,NOR", *CHEAP)
    assert run(*given, "--mask", "slices:every=2", "-o", "kept", "--segment")[0] == 0
    first, second = (load(f"kept/generated-000{n}.nii.gz") for n in (1, 2))
    facts = told("kept/generated-0001.json")
    assert facts["hidden_fraction"] == pytest.approx(1 / 3) and facts["like"]["mask"]["spec"] == "slices:every=2"
    assert np.array_equal(first.geometry.affine, scan.geometry.affine) and first.stored.dtype == np.float32
    kept = [z for z in range(3) if np.array_equal(first.stored[:, z], scan.stored[:, z])]
    assert kept == [0, 2] and np.array_equal(second.stored[:, kept], scan.stored[:, kept])
    assert not np.array_equal(first.stored[:, 1], second.stored[:, 1])
    assert rows_of("kept/manifest.csv")[0]["label"] == "generated-0001_labels.nii.gz"


def test_without_a_mask_only_the_grid_is_taken(run: Run, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "a.nii.gz", (2, 2, 72, 64))
    other = Scan(scan.stored * 3, 1.0, 0.0, scan.geometry)
    save("b.nii.gz", other)
    for name in "ab":
        assert run("generate", "--like", f"{name}.nii.gz", "-o", name, *CHEAP)[0] == 0
    made = [load(f"{name}/generated-0001.nii.gz") for name in "ab"]
    assert np.array_equal(made[0].stored, made[1].stored) and made[0].shape == scan.shape
    assert made[0].stored.dtype == np.int16 and np.array_equal(made[0].geometry.affine, scan.geometry.affine)


@pytest.mark.parametrize(
    ("args", "code", "exit_code"),
    [
        (("--mask", "0.5"), "usage", 2),
        (("--mask-label", "known"), "usage", 2),
        (("--like", "a.nii.gz", "--mask-label", "known"), "usage", 2),
        (("--like", "a.nii.gz", "--slices", "2"), "usage", 2),
        (("--like", "a.nii.gz", "--phases", "2"), "usage", 2),
        (("--like", "no.nii.gz"), "not-found", 3),
        (("--like", "two"), "usage", 2),
        (("--like", "a.nii.gz", "--mask", "sliced:0.5"), "usage", 2),
        (("--like", "generated/generated-0001.nii.gz", "--overwrite"), "overwrite-input", 2),
    ],
)  # fmt: skip
def test_what_a_likeness_refuses(run: Run, tmp_path: Path, args: tuple[str, ...], code: str, exit_code: int) -> None:
    for name in ("a.nii.gz", "two/a.nii.gz", "two/b.nii.gz", "generated/generated-0001.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_scan(tmp_path / name, (2, 1, 32, 32))
    got, out, err = run("generate", *args)
    match = LINE.fullmatch(err)
    assert (got, out) == (exit_code, "") and match and match[1] == code, err
