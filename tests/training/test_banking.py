"""Banks: what is written once is what training would read of the files, whatever kills, cuts or changes it."""

import dataclasses
import json
import os
import runpy
import signal
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import process
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cmrgz.cli import main
from cmrgz.data import cases, sides
from cmrgz.data.check import check
from cmrgz.data.cines import read_cine
from cmrgz.data.contents import contents
from cmrgz.data.phantom import processes
from cmrgz.data.scan import Scan, save
from cmrgz.errors import CmrgzWarning, DataError, ResourceError
from cmrgz.plugin import Extent
from cmrgz.training import banking
from cmrgz.training.banking import Made, make_bank
from cmrgz.training.frames import Batch, Frames, held_out
from cmrgz.training.options import TrainOptions
from cmrgz.training.patients import read_patients
from cmrgz.training.plan import Plan
from cmrgz.training.run import train

FRAME, BLOCK = Extent(item=(32, 32)), Extent(("t", "z", "y", "x"), (5, 3, 32, 32))
NAMES = ("group", "sex", "ef", "edv")


def write(path: Path, seed: int, shape: tuple[int, int, int, int] = (8, 3, 40, 36), pixel: float = 1.4) -> Path:
    t, z = shape[:2]
    values = np.random.default_rng(seed).integers(50, 300, shape).astype(np.float64)
    values += (100 * (1 + np.cos(2 * np.pi * np.arange(t) / t)))[:, None, None, None] + 5 * np.arange(z)[:, None, None]
    save(path, Scan.blank(shape, (8.0, pixel, pixel), 0.05), values.astype(np.int16))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a manifest of scans of several sizes: one resampled, one of a frame, one with label maps."""
    folder = tmp_path_factory.mktemp("data")
    shapes = [(8, 3, 40, 36), (12, 4, 36, 40), (1, 1, 40, 40), (6, 2, 36, 36)]
    rows = ["image,label,subject,group,sex,ef,split"]
    for n, shape in enumerate(shapes):
        image = write(folder / f"p{n}.nii.gz", n, shape, 1.9 if n == 1 else 1.4)
        label = ""
        if n == 3:
            label, values = "l3.nii.gz", np.zeros(shape, np.uint8)
            for t in range(shape[0]):
                values[t, :, 10 + t : 26, 10:26] = 3
            save(folder / label, Scan.blank(shape, (8.0, 1.4, 1.4), 0.05), values.astype(np.float32))
        rows.append(f"{image.name},{label},s{n},{'DCM' if n % 2 else 'NOR'},F,{'' if n == 3 else 0.3 + n / 10},")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def bank(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bank") / "bank"
    make_bank(cases.find(data), folder)
    return folder


def found(path: Path) -> list[cases.Case]:
    return cases.find(path, banks=True)


def assert_same(first: Batch, second: Batch) -> None:
    assert torch.equal(first.x, second.x) and first.condition.keys() == second.condition.keys()
    for name, value in first.condition.items():
        assert torch.equal(value.isnan(), second.condition[name].isnan()), name
        assert torch.equal(value.nan_to_num(-9), second.condition[name].nan_to_num(-9)), name


# ---------------------------------------------------------------------- the same as the files
@pytest.mark.parametrize("extent", [FRAME, BLOCK], ids=["frames", "blocks"])
def test_batches_of_a_bank_are_those_of_the_files_to_the_bit(data: Path, bank: Path, extent: Extent) -> None:
    plain, stored = (
        Frames([part], extent, augment=2.0, patients=read_patients(NAMES, part, []))
        for part in (cases.find(data), found(bank))
    )
    assert plain.patients.sha256(cases.find(data)) == stored.patients.sha256(found(bank))
    assert plain.surroundings == stored.surroundings
    for step in range(24):
        assert_same(plain.batch(3, step, 3), stored.batch(3, step, 3))
    assert_same(*(part.of_shape(0, 0, 4, part.surroundings, strides=False) for part in (plain, stored)))


def test_held_out_items_are_those_of_the_files(data: Path, bank: Path) -> None:
    for case, own in zip(cases.find(data), found(bank), strict=True):
        for extent in (FRAME, BLOCK):
            assert_same(*(held_out(read_cine(one), extent, 8) for one in (case, own)))


def test_what_is_said_of_scans_and_what_is_in_them_is_that_of_the_files(data: Path, bank: Path) -> None:
    plain, stored = cases.find(data), found(bank)
    names = ("id", "subject", "group", "sex", "split", "dataset", "told_by")
    assert [[getattr(case, name) for name in names] for case in plain] == [
        [getattr(case, name) for name in names] for case in stored
    ]
    assert [contents(case) for case in plain] == [contents(case) for case in stored]
    assert cases.split_hash({"train": plain}) == cases.split_hash({"train": stored})


OPTIONS = TrainOptions(
    steps=2, batch_size=1, warmup=1, save_every=2, validate_every=2, validation_items=1, fit_items=2,
    item=(32, 32), conditions=("group", "ef"),
)  # fmt: skip


def test_training_from_a_bank_is_training_from_the_files(data: Path, bank: Path, tmp_path: Path) -> None:
    """Config, log and weights are equal, so that a run of one may be gone on with from the other."""
    plan = Plan(name="ldm-unet", output=tmp_path / "a", data=[str(data)], build={"size": "tiny"}, train=OPTIONS)
    other = dataclasses.replace(plan, data=[str(bank)], output=tmp_path / "b")
    for one in (plan, other):
        train(one)
    for name in ("config.json", "log.jsonl"):
        assert (plan.output / name).read_bytes() == (other.output / name).read_bytes()
    first, second = (load_file(one.output / "checkpoint/weights.safetensors") for one in (plan, other))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_sides_are_told_across_banks_and_files(data: Path, bank: Path, tmp_path: Path) -> None:
    plan = Plan(name="vq", output=tmp_path / "run", data=[str(bank)], validation=[str(data)])
    with pytest.raises(DataError, match="leak"):
        train(plan)
    other = write(tmp_path / "anybody.nii.gz", 0)  # the scan of s0
    with pytest.warns(CmrgzWarning, match="same-contents"), pytest.raises(DataError, match=r"leak.*by content"):
        sides.check_disjoint({"training data": found(bank), "validation data": cases.find(other)})


# ---------------------------------------------------------------------- made in turns
def frames_of(bank: Path) -> dict[str, bytes]:
    return {case.id: read_cine(case).whole.tobytes() for case in found(bank)}


def test_processes_make_the_same_bank(data: Path, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(banking, "LEAST", 1)
    made = make_bank(cases.find(data), tmp_path / "bank", workers=2)
    assert (made.cases, made.subjects, made.new, made.bad) == (4, 4, 4, [])
    assert len(list((tmp_path / "bank").glob("part-*.bin"))) > 1
    assert frames_of(tmp_path / "bank") == frames_of(bank)


def test_scans_are_added_and_none_is_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, bank = tmp_path / "data", tmp_path / "bank"
    folder.mkdir()
    for n in (0, 2):
        write(folder / f"p{n}.nii", n)
    assert made(folder, bank).new == 2
    before = (bank / "part-00001.bin").read_bytes()
    assert made(folder, bank).new == 0
    write(folder / "p1.nii", 1)
    write(tmp_path / "other.nii", 7)
    assert (made(folder, bank).new, made(tmp_path / "other.nii", bank).new) == (1, 1)
    assert (bank / "part-00001.bin").read_bytes() == before
    assert [case.subject for case in found(bank)] == ["other", "p0", "p1", "p2"]
    os.remove(folder / "p0.nii")
    write(folder / "p0.nii", 9)
    assert made(folder, bank).new == 1 and [case.subject for case in found(bank)] == ["p0", "p1", "p2", "other"]
    assert frames_of(bank).keys() == {case.id for case in cases.find(folder) + cases.find(tmp_path / "other.nii")}
    assert np.array_equal(read_cine(found(bank)[0]).whole, read_cine(cases.find(folder)[0]).whole)


def made(data: Path, bank: Path) -> Made:
    return make_bank(cases.find(data), bank)


@pytest.mark.parametrize("each", [4, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_wherever_it_dies_the_next_run_does_the_rest(tmp_path: Path, deaths: Any, each: int) -> None:
    """A bank is none or whole, what was acknowledged is not read again, and nothing stale is left."""
    for n in range(2):
        write(tmp_path / f"p{n}.nii", n, (2, 1, 12, 12))
    scans = cases.find(tmp_path)
    make_bank(scans, tmp_path / "whole")
    want = frames_of(tmp_path / "whole")
    count = deaths.operations(lambda: make_bank(scans, tmp_path / "count"))
    left = set()
    for point in [f"{n}{half}" for n in range(1, count + 1) for half in ("", ":half")][::each]:
        bank = tmp_path / f"bank{point.replace(':', '')}"
        if not deaths.at(lambda bank=bank: make_bank(scans, bank), point):
            with pytest.raises(DataError):
                found(bank)
        stored = sum(len(path.read_bytes().splitlines()) for path in bank.glob("*.jsonl"))
        left.add(made_again := make_bank(scans, bank).new)
        assert made_again in (2 - stored, 3 - stored), point
        assert frames_of(bank) == want and not list(bank.glob(".tmp-*")), point
    assert len(left) > 1 and (each > 1 or left == {0, 1, 2})


def test_a_full_disk_costs_nothing_that_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cmrgz.durable import parts

    for n in range(3):
        write(tmp_path / f"p{n}.nii", n, (2, 1, 12, 12))
    written: list[int] = []
    original = parts.write_all

    def full(fd: int, data: bytes) -> None:
        written.append(len(data))
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        original(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(parts, "write_all", full)
        with pytest.raises(ResourceError, match="disk-full"):
            made(tmp_path, tmp_path / "bank")
    with pytest.raises(DataError, match="unfinished"):
        found(tmp_path / "bank")
    assert made(tmp_path, tmp_path / "bank").new == 2 and len(found(tmp_path / "bank")) == 3


def test_bad_scans_are_all_told_and_the_others_are_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, bank = tmp_path / "data", tmp_path / "bank"
    folder.mkdir()
    for n in range(4):
        write(folder / f"p{n}.nii", n)
    whole = (folder / "p1.nii").read_bytes()
    for n in (1, 2):
        (folder / f"p{n}.nii").write_bytes(whole[:5000])
    command = ["data", "bank", str(folder), "-o", str(bank), "--workers", "1"]
    assert main(command) == 3
    told = capsys.readouterr()
    assert [line.split(":")[1] for line in told.err.splitlines()] == [" error[truncated]"] * 2
    with pytest.raises(DataError, match="unfinished"):
        found(bank)
    (folder / "p1.nii").write_bytes(whole)
    os.remove(folder / "p2.nii")
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["scans"], told["new"], told["bad"]) == (3, 1, [])


# ---------------------------------------------------------------------- refusals
def use(bank: Path) -> None:
    """Draw from all scans of a bank, and look at all of it."""
    frames = Frames([found(bank)], FRAME)
    for step in range(10):
        frames.batch(0, step, 4)
    if bad := check(found(bank)):
        raise bad[0]


@pytest.fixture
def own(data: Path, tmp_path: Path) -> Path:
    make_bank(cases.find(data), tmp_path / "own")
    return tmp_path / "own"


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 64
    path.write_bytes(data)


@pytest.mark.filterwarnings("ignore:.*dims")
@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda bank: cut(bank / "part-00001.bin", 5000), "truncated"),
        (lambda bank: os.remove(bank / "part-00001.bin"), "truncated"),
        (lambda bank: flip(bank / "part-00001.bin", 100), "hash"),
        (lambda bank: os.remove(bank / "bank.json"), "unfinished"),
        (lambda bank: cut(bank / "bank.json", 700), "syntax"),
    ],
)
def test_a_damaged_bank_is_one_line_and_made_again_from_the_scans(
    data: Path, own: Path, damage: Callable[[Path], None], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    want = frames_of(own)
    damage(own)
    with pytest.raises(DataError, match=code):
        use(own)
    assert main(["data", "check", str(own)]) == 3
    assert f"error[{code}]" in capsys.readouterr().err.splitlines()[-1]
    if code in ("truncated", "unfinished"):
        make_bank(cases.find(data), own)
        assert frames_of(own) == want


def test_a_file_that_is_cut_in_use_is_an_error_and_no_death(own: Path) -> None:
    cine = read_cine(found(own)[0])
    assert cine.at([0], [0]).size
    cut(own / "part-00001.bin", 2000)
    with pytest.raises(DataError, match="truncated"):
        cine.at([7], [2])


@pytest.mark.filterwarnings("ignore:.*dims")
def test_an_index_is_checked(own: Path, fuzz: Callable[..., None]) -> None:
    fuzz(own / "bank.json", lambda: use(own), 60, (3, 6))


@pytest.mark.filterwarnings("ignore::cmrgz.errors.CmrgzWarning")
def test_a_damaged_journal_is_told_and_the_index_holds(data: Path, own: Path) -> None:
    flip(own / "part-00001.jsonl", 30)
    with pytest.warns(CmrgzWarning, match="log-corrupt"):
        assert make_bank(cases.find(data), own).new == 0


def test_a_bank_of_another_version_or_spacing_is_refused(data: Path, own: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"spacing.*1\.4 mm, asked for 2"):
        make_bank(cases.find(data), own, 2.0)
    with pytest.raises(DataError, match=r"spacing.*the model's 2 mm"):
        Frames([found(own)], Extent(item=(32, 32), spacing=2.0))
    index = json.loads((own / "bank.json").read_text())
    (own / "bank.json").write_text(json.dumps(index | {"format": 9}))
    for call in (lambda: found(own), lambda: make_bank(cases.find(data), own)):
        with pytest.raises(DataError, match="version"):
            call()


@pytest.mark.parametrize("command", ["evaluate BANK -o OUT", "inpaint BANK -m ar-vq -o OUT", "data bank BANK -o OUT"])
def test_where_scans_are_needed_a_bank_is_refused_in_a_line(
    command: str, bank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"BANK": str(bank), "OUT": str(tmp_path / "out")}
    assert main([words.get(word, word) for word in command.split()]) == 3
    assert "error[bank]" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_bank_can_be_checked(bank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(CmrgzWarning, match="dims"):
        assert not check(found(bank))
    assert main(["data", "check", str(bank)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("layout: bank\ngroups: DCM 2, NOR 2\n") and "4 scans of 4 subjects" in told


def test_two_cannot_make_one_bank(data: Path, own: Path) -> None:
    from cmrgz.durable import locked

    with locked(own, "making a bank"), pytest.raises(ResourceError, match="locked"):
        make_bank(cases.find(data), own)


# ---------------------------------------------------------------------- memory
def test_training_holds_no_voxels_of_a_bank(tmp_path: Path) -> None:
    """What a process holds for batches from a bank is the same for a scan as for one of many more voxels."""
    peaks = []
    for size, shape in enumerate([(4, 3, 64, 64), (60, 12, 64, 64)]):
        write(tmp_path / f"{size}.nii", size, shape)
        make_bank(cases.find(tmp_path / f"{size}.nii"), tmp_path / f"bank{size}")
        tracemalloc.start()
        try:
            frames = Frames([found(tmp_path / f"bank{size}")], BLOCK)
            for step in range(30):
                frames.of_shape(0, step, 2, (3, 2))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert np.prod(shape) * 2 > 5e6 and abs(peaks[1] - peaks[0]) < 2e5, peaks


# ---------------------------------------------------------------------- processes
def test_processes_make_the_batches_of_one_in_order_and_a_dead_one_is_told(own: Path) -> None:
    """They are deaf to SIGTERM: Slurm sends it to all, and the training has a state to store."""
    frames = Frames([found(own)], BLOCK)
    batches = frames.batches(1, range(3, 10**9), 2, workers=2)
    for step in range(3, 9):
        assert_same(next(batches), frames.batch(1, step, 2))
    workers = [child for child in active_children() if "SpawnProcess" in child.name]
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker.pid or 0, signal.SIGTERM)
    for step in range(9, 14):
        assert_same(next(batches), frames.batch(1, step, 2))
    workers[0].kill()
    with pytest.raises(ResourceError, match="worker-lost"):
        for _ in range(10**4):
            next(batches)


def test_a_dead_process_is_told_where_the_pool_cannot(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread ends by an error where something is asked for while it goes over all that is pending."""
    monkeypatch.setattr(process._ExecutorManagerThread, "terminate_broken", lambda self, cause: None)
    monkeypatch.setattr(processes, "PATIENCE", 0.1)
    batches = Frames([found(own)], BLOCK).batches(1, range(10**9), 2, workers=2)
    next(batches)
    next(child for child in active_children() if "SpawnProcess" in child.name).kill()
    with pytest.raises(ResourceError, match="worker-lost"):
        for _ in range(10**4):
            next(batches)
    assert not [child for child in active_children() if "SpawnProcess" in child.name]


def test_the_benchmark_runs(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    script = Path(__file__).resolve().parents[2] / "examples/benchmarks/data.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(data), "--items", "16", "--workers", "0"])
    runpy.run_path(str(script), run_name="__main__")
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in told if " from " in line] == [
        [kind, "from", where] for kind in ("frames", "blocks") for where in ("files", "bank")
    ]
