"""Help: order, summaries that are not cut, what an option is where it is not given, and examples that work."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from cmrgz import checkpoint, registry
from cmrgz.anatomy import cohort, measure
from cmrgz.cli import evaluate as evaluate_command
from cmrgz.cli import main
from cmrgz.cli.commands import app
from cmrgz.data.scan import Scan, save
from cmrgz.evaluation import lineup
from cmrgz.scans import generate, inpaint
from cmrgz.training import run as training

WIDTH = 80
ROOT: Any = typer.main.get_command(app)


def walk(command: Any = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Return all commands, those that hold others too."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*path, name))


COMMANDS = {" ".join(path): command for path, command in walk()}
LEAVES = {name: command for name, command in COMMANDS.items() if not hasattr(command, "commands")}


def told(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in LEAVES and name != "evaluate"])
def test_no_summary_is_cut(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    listing = told(name.split(), monkeypatch, capsys).partition("Commands:\n")[2]
    rows = dict(re.findall(r"^  (\S+) +(.+)$", listing, re.MULTILINE))
    assert rows.keys() == COMMANDS[name].commands.keys()
    assert len(listing.splitlines()) == len(rows), "a line each"
    for inner, summary in rows.items():
        assert re.fullmatch(r"[A-Z].*[^.]\.", summary) and len(summary.split()) > 3, f"{inner}: {summary}"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_fits_a_line(name: str) -> None:
    """Also those of `evaluate`, whose help is that of its command `run`."""
    longest = max(map(len, COMMANDS[name.rpartition(" ")[0]].commands)) if name else 0
    assert not COMMANDS[name].get_short_help_str(WIDTH - 2 - 6 - longest).endswith("...")


def test_commands_are_listed_by_use(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    listing = told([], monkeypatch, capsys).partition("Commands:\n")[2]
    order = re.findall(r"^  (\S+)", listing, re.MULTILINE)
    assert order[:6] == ["inpaint", "generate", "train", "evaluate", "models", "measure"] and order[-1] == "env"
    assert order[-4:] == ["metrics", "data", "plugins", "env"]


@pytest.mark.parametrize("name", LEAVES)
def test_what_is_not_given_is_told(name: str) -> None:
    """A default that is None says nothing: the help says in brackets what is done then."""
    for p in LEAVES[name].params:
        if p.default is None and not p.required and p.opts[0] not in ("--help", "scan", "--model"):
            assert re.search(r" \[.+\]\.$", p.help or "") or p.hidden, f"{name} {p.opts[0]}: {p.help}"


# ---------------------------------------------------------------------- examples
def examples(command: Any) -> list[str]:
    """Return the commands under the help of one."""
    text = (command.epilog or "").replace("\\\n", " ")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip().startswith("cmrgz ")]


EVERY = [(name, example) for name, command in LEAVES.items() for example in examples(command)]
LIGHT = ("models", "metrics", "env", "plugins list", "plugins info")


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_examples(name: str) -> None:
    own = examples(LEAVES[name])
    assert any(example.startswith(f"cmrgz {name.removesuffix(' run')}") for example in own)
    lines = LEAVES[name].epilog.splitlines()
    assert all(len(line) + 2 <= WIDTH for line in lines), "an example is not wrapped"
    assert len(own) <= 6 and any(line.startswith("  # ") for line in lines)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the examples name; bundled weights stand for own ones."""
    folder = tmp_path_factory.mktemp("examples")
    scan = Scan.blank((2, 3, 64, 64), (10.0, 1.4, 1.4), 0.05)
    for number, name in enumerate(("scan", "DATA/a", "MORE/b", "TEST/c", "TRAIN/d", "BANK/e")):
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        save(path, scan, np.random.default_rng(number).integers(0, 500, scan.shape).astype(np.int16))
    (folder / "DATA" / "manifest.csv").write_text("image,patient\na.nii.gz,1\n")
    for run, name in (("unet", "ldm-unet"), ("kl", "kl")):
        weights = checkpoint.bundled(registry.get_model(name) if name != "kl" else registry.get_tokenizer(name))
        (folder / "runs" / run).mkdir(parents=True)
        (folder / "runs" / run / "checkpoint").symlink_to(str(weights))
    return folder


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of what was to be computed, which is checked as ever and then left out."""
    calls: list[str] = []

    def left_out(module: Any, name: str, result: Any = None) -> None:
        def leave(*_: Any, **__: Any) -> Any:
            calls.append(name)
            return result

        monkeypatch.setattr(module, name, leave)

    left_out(inpaint, "inpaint_scans")
    left_out(generate, "generate_scans")
    left_out(cohort, "make_cohort")
    left_out(measure, "measure_scans", [])
    left_out(training, "train", "runs/x")
    monkeypatch.setattr(evaluate_command, "_prepared", lambda sweep, *_: lineup.choose_models(sweep))
    for name in ("_computed", "_tell_plan", "_tell"):
        left_out(evaluate_command, name)
    return calls


def parsed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command line up to the function of its command."""
    command, rest = ROOT, words
    while hasattr(command, "commands"):
        at = 1 if rest[0] in command.commands else 0
        command, rest = command.commands[rest[0] if at else command.default], rest[at:]
    given: list[Any] = []
    monkeypatch.setattr(command, "callback", lambda **options: given.append(options))
    with command.make_context("cmrgz", [*rest]) as context:
        command.invoke(context)
    assert given


COMPUTED = ("inpaint", "generate", "measure", "train", "evaluate run", "data check", *LIGHT)


@pytest.mark.parametrize(("name", "example"), EVERY, ids=[example for _, example in EVERY])
def test_an_example_works(
    name: str,
    example: str,
    world: Path,
    done: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With all that a command checks of what it is told; what takes long is left out, or only parsed."""
    monkeypatch.chdir(world)
    monkeypatch.setenv("CMRGZ_DEVICE", "cpu")
    words = shlex.split(example)[1:]
    of_its_own = " ".join(words).startswith(name.removesuffix(" run"))
    if name in COMPUTED and of_its_own and not {"report", "verify"} & {*words}:
        assert main(words) == 0, capsys.readouterr().err
        assert done or name in (*LIGHT, "data check")
    else:
        parsed(words, monkeypatch)
