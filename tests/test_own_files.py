"""Files that the project wrote itself are read as if a stranger had: whatever they hold, there is one line at most."""

import dataclasses
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cmrgz import checkpoint, durable, records, registry
from cmrgz.cli import main
from cmrgz.data import cases
from cmrgz.errors import CheckpointError, CmrgzWarning, DataError
from cmrgz.evaluation.lineup import choose_models
from cmrgz.evaluation.options import SweepOptions
from cmrgz.training.options import TrainOptions
from cmrgz.training.plan import Plan
from cmrgz.training.run import train
from cmrgz.training.state import State, resume

TRAIN = {"steps": 2, "batch_size": 1, "warmup": 1, "save_every": 1, "validate_every": 2, "validation_items": 1}
OPTIONS = TrainOptions(**TRAIN, fit_items=1)  # type: ignore[arg-type]
DEEP = b"[" * 1000 + b"]" * 1000
Fuzz = Callable[..., None]
pytestmark = pytest.mark.filterwarnings("ignore::cmrgz.errors.CmrgzWarning")


MANY = [30, pytest.param(1000, marks=pytest.mark.exhaustive)]


@pytest.fixture(scope="module")
def plan(small_plan: Callable[..., Plan], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Return the plan of a small run that is done."""
    plan = small_plan(tmp_path_factory.mktemp("own") / "run", OPTIONS)
    train(plan)
    return plan


@pytest.fixture
def run(plan: Plan, tmp_path: Path) -> Plan:
    shutil.copytree(plan.output, tmp_path / "run")
    return dataclasses.replace(plan, output=tmp_path / "run")


@pytest.mark.parametrize("number", MANY)
def test_meta_is_read_or_refused(tiny_checkpoint: Path, tmp_path: Path, fuzz: Fuzz, number: int) -> None:
    """What a builder does not take of the options of the architecture is told by it, as exit code 5."""
    shutil.copytree(tiny_checkpoint, tmp_path / "model")

    def use() -> None:
        checkpoint.open_model(tmp_path / "model")
        choose_models(SweepOptions(models=(str(tmp_path / "model"),)))

    fuzz(tmp_path / "model" / "meta.json", use, number, (4, 5))


@pytest.mark.parametrize("number", MANY)
@pytest.mark.parametrize("name", ["config.json", "log.jsonl", "checkpoint/meta.json"])
def test_the_files_of_a_run_are_read_or_refused(run: Plan, fuzz: Fuzz, name: str, number: int) -> None:
    """Without a state to write the checkpoint from; a log is none of the result, it is told in a warning."""
    for folder in run.output.glob("state-*"):
        shutil.rmtree(folder)

    def use() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error", CmrgzWarning)
            try:
                train(run)
            except CmrgzWarning as told:
                raise CheckpointError(told.code, told.where, "is told") from None

    fuzz(run.output / name, use, number)


@pytest.mark.parametrize("number", MANY)
def test_the_record_of_a_state_is_read_or_refused(run: Plan, fuzz: Fuzz, number: int) -> None:
    key = json.loads((run.output / "config.json").read_bytes())["key"]
    state = State.start(registry.build_tokenizer(registry.get_tokenizer("vq"), run.build), OPTIONS)
    shutil.rmtree(run.output / "state-00000001")

    def use() -> None:
        try:
            resume(state, run.output, key)
        finally:
            for path in run.output.glob("corrupt-*"):
                path.rename(run.output / "state-00000002")

    fuzz(run.output / "state-00000002" / "state.json", use, number)


@pytest.mark.parametrize("number", MANY)
@pytest.mark.parametrize("name", ["manifest.jsonl", "manifest.csv"])
def test_a_manifest_is_read_or_refused(run: Plan, fuzz: Fuzz, name: str, number: int) -> None:
    rows = [{"image": f"{run.data[0]}/{name}.nii.gz", "subject": name, "group": "A", "split": "train"} for name in "ab"]
    text = "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)])
    path = run.output / name
    path.write_text(text + "\n" if name.endswith(".csv") else "\n".join(map(json.dumps, rows)))
    fuzz(path, lambda: cases.find(str(path)), number, (3,))


@pytest.mark.parametrize("name", ["config.json", "state-00000002/state.json", "checkpoint/meta.json", "log.jsonl"])
@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe"])
def test_a_run_that_was_written_over_is_told_in_a_line(
    run: Plan, name: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the command line: never a traceback, never exit code 70."""
    (run.output / name).write_bytes(content)
    sets = [f"--set={key}={value}" for key, value in {**run.build, **TRAIN, "fit_items": 1}.items()]
    code = main(["train", "vq", *run.data, "-o", str(run.output), "--device", "cpu", *sets])
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cmrgz: ")]
    assert code == (4 if name == "config.json" else 0)
    assert len(told) == (0 if name.startswith("state") else 1), told  # it is not looked at: the checkpoint is whole


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no valid JSON"),
        (b"[]", "expected an object, got list"),
        (b"\xff", "no valid JSON"),
        (b'{"a": 1, "a": 2}', "a name stands there twice"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": "\\ud800"}', "no valid JSON"),
        (b'{"a": ' + DEEP + b"}", "no valid JSON"),
        (b'{"a": ' + DEEP[900:-900] + b"}", "nested too deep"),
        (b'{"b": 1}', "fields missing: a"),
        (b'{"a": true}', "'a' cannot be 'True'"),
    ],
)
@pytest.mark.parametrize("refuse", [CheckpointError, DataError])
def test_a_record_is_what_it_must_be(tmp_path: Path, content: bytes, said: str, refuse: Any) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(refuse, match=said) as caught:
        durable.read_record(path, {"a": records.natural}, refuse=refuse)
    assert caught.value.where == str(path)
    path.write_bytes(b'{"a": 1, "b": "\\ud83d\\udc93"}')
    assert durable.read_record(path, {"a": records.natural}) == {"a": 1, "b": "\U0001f493"}


def test_who_a_checkpoint_learned_from_is_a_list_of_names(tiny_checkpoint: Path, tmp_path: Path) -> None:
    for told in (5, "everybody", [5], {"a": 1}):
        shutil.copytree(tiny_checkpoint, tmp_path / "model", dirs_exist_ok=True)
        meta = json.loads((tmp_path / "model" / "meta.json").read_bytes())
        meta["training"]["trained_on"] = told
        (tmp_path / "model" / "meta.json").write_text(json.dumps(meta))
        with pytest.raises(CheckpointError, match="'training' cannot be"):
            checkpoint.open_model(tmp_path / "model")


def test_a_model_that_names_no_tokenizer_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "model")
    meta = json.loads((tmp_path / "model" / "meta.json").read_bytes())
    (tmp_path / "model" / "meta.json").write_text(json.dumps({**meta, "tokenizer": None}))
    with pytest.raises(CheckpointError, match="names no tokenizer"):
        checkpoint.open_model(tmp_path / "model")


def test_a_name_that_is_too_long_for_a_file_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(f"image\n{'a' * 9999}\n")
    with pytest.raises(DataError, match="not-found"):
        cases.find(str(tmp_path / "manifest.csv"))
