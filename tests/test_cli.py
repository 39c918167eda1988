import errno
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint, version
from pathlib import Path

import pytest
import typer

from cmrgz import errors, registry
from cmrgz.cli import commands, env, main

Install = Callable[..., list[EntryPoint]]

LINE = re.compile(r"cmrgz: (error|warning)\[[a-z-]+\]: .+: .+\n")
HEAVY = ("torch", "numpy", "scipy", "nibabel", "diffusers", "matplotlib", "accelerate", "rich")

SPEC = """
from cmrgz.plugin import ModelSpec
SPEC = ModelSpec(name="ar-test", family="ar", summary="a test", build="toy_build:build", conditions=("phase",))
"""
BUILD = """
from typing import Annotated
from cmrgz.model import Model
class Fill(Model):
    def loss(self, x, *, condition=None, rng): ...
    def sample(self, x, known, *, condition=None, rng, progress=None, steps: Annotated[int, "how many"] = 4): ...
def build(width: int = 3, scales: tuple[int, ...] = (1, 2)) -> Fill: ...
"""


def cmrgz(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cmrgz", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | env)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., None]], None]:
    """Return a function that adds the command `probe` for the length of a test."""

    def add(function: Callable[..., None]) -> None:
        monkeypatch.setattr(commands.app, "registered_commands", [*commands.app.registered_commands])
        commands.app.command("probe")(function)

    return add


LIGHT = (
    "--help",
    "-h",
    "models",
    "models --json",
    "--version",
    "env",
    "plugins list",
    "plugins --help",
    "plugins new -h",
    "inpaint -h",
)


@pytest.mark.parametrize("args", [words.split() for words in LIGHT])
def test_light_commands_import_nothing_heavy(args: list[str]) -> None:
    start = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "cmrgz", *args], capture_output=True, text=True, timeout=300
    )
    print(f"cmrgz {' '.join(args)}: {time.perf_counter() - start:.2f} s")
    assert run.returncode == 0 and run.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in run.stderr.splitlines()}
    assert "typer" in imported and not imported & set(HEAVY)


@pytest.mark.parametrize(
    ("args", "start"),
    [
        ([], "cmrgz: error[unknown-command]: cmrgz: expected a command"),
        (["modles"], "cmrgz: error[unknown-command]: modles: no such command; did you mean 'models'?"),
        (["mod\nles\x1b"], "cmrgz: error[unknown-command]: mod\\nles\\x1b: no such command"),
        (["models", "--jsn"], "cmrgz: error[usage]: option --jsn: no such option; did you mean '--json'?"),
        (["--jsn"], "cmrgz: error[usage]: option --jsn: no such option"),
        (["models", "a", "b"], "cmrgz: error[usage]: cmrgz models: Got unexpected extra argument"),
        (["env", "--json", "--json"], "cmrgz: error[usage]: option --json: is given more than once"),
        (["models", "no-such-model"], "cmrgz: error[unknown-plugin]: no-such-model: "),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(args: list[str], start: str) -> None:
    run = cmrgz(*args)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith(start) and LINE.fullmatch(run.stderr), run.stderr


def test_help_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('broken')")
    for args in (["--help"], ["--version"], ["models"]):
        assert cmrgz(*args, PYTHONPATH=str(tmp_path)).returncode == 0


def test_version_and_env() -> None:
    assert cmrgz("--version").stdout.startswith("cmrgz 0.")
    facts = json.loads(cmrgz("env", "--json").stdout)
    assert facts["cmrgz"] == cmrgz("--version").stdout.split()[1]
    assert facts["python"].startswith("3.")
    assert "dependencies" in cmrgz("env").stdout


def test_env_tells_what_plugins_need_too(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = {"cmrgz": ["numpy>=2", 'ray; extra == "cluster"'], "cmrgz-toy": ["cmrgz", "toy-codes (>=1)", "numpy"]}
    monkeypatch.setattr(env, "_requirements", lambda package: needs[package])
    assert env.dependency_versions(["cmrgz-toy"]) == {"numpy": version("numpy"), "toy-codes": "not installed"}


def test_models_lists_broken_ones_and_tells_options(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("cmrgz-toy", {"ar-test": "toy:SPEC"}, {"toy": SPEC, "toy_build": BUILD})
    install("cmrgz-bad", {"ar-bad": "bad:SPEC"}, {"bad": "import no_such_module_at_all"})
    assert main(["models"]) == 0
    listing = capsys.readouterr().out
    assert re.search(r"ar-bad +BROKEN +plugin-broken: .*no_such_module_at_all", listing)
    assert re.search(r"ar-test +a test +\[cmrgz-toy 1.0, no weights\]", listing)
    assert main(["models", "--json"]) == 0
    entries = {e["name"]: e for e in json.loads(capsys.readouterr().out)["models"]}
    assert entries["ar-test"]["item"] == [128, 128] and "broken" in entries["ar-bad"]
    assert main(["models", "ar-test"]) == 0
    page = capsys.readouterr().out
    assert "  steps=4  int  how many" in page and "  scales=1,2  int,..." in page
    assert main(["models", "ar-test", "--json"]) == 0
    assert [o["name"] for o in json.loads(capsys.readouterr().out)["build"]] == ["width", "scales"]
    assert main(["models", "ar-bad"]) == 5
    assert LINE.fullmatch(capsys.readouterr().err)


@pytest.mark.parametrize("name", sorted({**registry.models(), **registry.tokenizers()}))
def test_every_installed_name_has_a_page(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", name]) == 0
    assert "Options of training" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "start"),
    [
        (errors.DataError("dims", "a.nii", "expected 3 or 4, got 7"), 3, "cmrgz: error[dims]: a.nii: expected"),
        (errors.Stopped("stopped", "runs/a", "state saved"), 75, "cmrgz: error[stopped]"),
        (MemoryError(), 6, "cmrgz: error[too-large]"),
        (OSError(28, "No space left on device"), 6, "cmrgz: error[disk-full]"),
        (OSError(errno.EROFS, "Read-only file system", "a/b"), 6, "cmrgz: error[permission]: a/b: "),
        (OSError(errno.EMFILE, "Too many open files"), 6, "cmrgz: error[io]: cmrgz: "),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 6, "cmrgz: error[dependency]: torch: "),
        (typer.BadParameter("bad"), 2, "cmrgz: error[usage]"),
        (typer.Exit(8), 8, ""),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_each_fault_has_its_code_and_line(
    command: Callable[[Callable[..., None]], None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    start: str,
) -> None:
    def fail() -> None:
        raise error

    command(fail)
    assert main(["probe"]) == code
    told = capsys.readouterr().err
    assert told.startswith(start) and (LINE.fullmatch(told) if start else told == "")


@pytest.mark.parametrize("error", [KeyError("Doe^John"), RecursionError(), SystemExit(0), GeneratorExit()])
def test_a_bug_leaves_a_crash_file_without_values(
    command: Callable[[Callable[..., None]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: BaseException,
) -> None:
    def fail(scan: str = "") -> None:
        secret = "Doe^Jane"  # noqa: F841
        raise error

    command(fail)
    monkeypatch.setenv("CMRGZ_HOME", str(tmp_path))
    assert main(["probe", "--scan", "Doe^Jim.nii"]) == 70
    told = capsys.readouterr().err
    assert LINE.fullmatch(told) and told.startswith("cmrgz: error[internal]: test_cli.py:")
    (crash,) = tmp_path.iterdir()
    assert crash.name in told and crash.stat().st_mode & 0o777 == 0o600
    text = crash.read_text()
    assert "Doe" not in text + told and "options: --scan" in text and type(error).__name__ in text
    assert main(["probe", "--debug"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_crash_file_that_cannot_be_written_is_no_second_fault(
    command: Callable[[Callable[..., None]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def fail() -> None:
        raise KeyError

    command(fail)
    monkeypatch.setenv("CMRGZ_HOME", str(tmp_path / "absent"))
    assert main(["probe"]) == 70
    assert "--debug" in capsys.readouterr().err


def test_values_out_of_range_are_named_by_option(
    command: Callable[[Callable[..., None]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def count(name: str, steps: int = typer.Option(3, min=1)) -> None: ...

    command(count)
    for args, start in (
        (["x", "--steps", "0"], "cmrgz: error[range]: option --steps: "),
        (["x", "--steps", "many"], "cmrgz: error[range]: option --steps: "),
        (["x", "--steps"], "cmrgz: error[usage]: option --steps: "),
        (["x", "--steps", "1", "--steps", "2"], "cmrgz: error[usage]: option --steps: is given more than once"),
        ([], "cmrgz: error[usage]: NAME: is missing"),
    ):
        assert main(["probe", *args]) == 2
        told = capsys.readouterr().err
        assert told.startswith(start) and LINE.fullmatch(told), told


def test_warnings_are_told_once_with_a_count(
    command: Callable[[Callable[..., None]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def noisy() -> None:
        for case in range(3):
            errors.warn("units", f"{case}.nii", "no units, mm taken")
        errors.warn("tiny", "0.nii", "smaller than an item")
        warnings.warn("foreign", UserWarning, stacklevel=1)

    command(noisy)
    assert main(["probe"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[2][:20] for line in lines] == [
        " warning[units]: 0.n",
        " warning[tiny]: 0.ni",
        " warning[units]: cmr",
    ]
    assert lines[-1].endswith("3 times in this run")
    assert main(["probe", "--debug"]) == 0
    assert "UserWarning: foreign" in capsys.readouterr().err


def test_shared_options_stand_anywhere_before_the_dashes() -> None:
    assert commands.hoisted(["train", "x", "--debug", "-q"]) == ["--debug", "-q", "train", "x"]
    assert commands.hoisted(["inpaint", "--", "-q"]) == ["inpaint", "--", "-q"]
    assert cmrgz("models", "-q").returncode == 0


def test_log_level(command: Callable[[Callable[..., None]], None], capsys: pytest.CaptureFixture[str]) -> None:
    def speak() -> None:
        logging.getLogger("cmrgz.training").info("step 1")

    command(speak)
    for args, text in ((["probe"], "step 1\n"), (["probe", "-v"], "step 1\n"), (["probe", "-q"], "")):
        assert main(args) == 0
        assert capsys.readouterr() == ("", text)
    assert cmrgz("env", CMRGZ_LOG_LEVEL="chatty").returncode == 2


def test_closed_and_full_stdout() -> None:
    for target, code, lines in (("| head -c 0", 141, 0), (">/dev/full", 6, 1)):
        script = f'set -o pipefail; "{sys.executable}" -m cmrgz env {target}'
        run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=300)
        assert run.returncode == code and len(run.stderr.splitlines()) == lines, run.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed: str) -> None:
    """They are as good as the null device; no file that is opened later takes their place."""
    script = f'"{sys.executable}" -m cmrgz env {closed} && ! "{sys.executable}" -m cmrgz nope {closed}'
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0 and bool(run.stdout) == (">&- " not in f"{closed} ".replace("2>", ""))
    assert run.stderr.count("\n") == ("2>&-" not in closed), run.stderr


@pytest.mark.parametrize(
    ("first", "code", "told"),
    [
        ("SIGINT", 130, ""),
        ("SIGTERM", 143, "cmrgz: error[stopped]: cmrgz probe: ended by SIGTERM; what is written is whole\n"),
        ("SIGHUP", 129, "cmrgz: error[stopped]: cmrgz probe: ended by SIGHUP; what is written is whole\n"),
    ],
)
@pytest.mark.parametrize("then", [KeyboardInterrupt, ImportError])
def test_a_signal_breaks_off_a_command(
    command: Callable[[Callable[..., None]], None],
    capsys: pytest.CaptureFixture[str],
    first: str,
    code: int,
    told: str,
    then: type[BaseException],
) -> None:
    """Also where what is interrupted makes another error of it."""

    def interrupted() -> None:
        try:
            signal.raise_signal(getattr(signal, first))
        except KeyboardInterrupt:
            if then is KeyboardInterrupt:
                raise
            raise then from None

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    command(interrupted)
    assert main(["probe"]) == code
    assert capsys.readouterr() == ("", told)
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


ENDED = """
import os, signal, sys
from cmrgz.cli import commands, main

def probe() -> None:
    {what}

commands.app.command({name!r})(probe)
raise SystemExit(main([{name!r}]))
"""


def ended(what: str, name: str = "probe", **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command that is one statement."""
    script = [sys.executable, "-c", ENDED.format(what=what, name=name)]
    return subprocess.run(script, capture_output=True, text=True, timeout=300, env=os.environ | env)


def test_a_command_that_goes_on_says_so_when_it_is_ended() -> None:
    run = ended("signal.raise_signal(signal.SIGTERM)", "train")
    assert run.returncode == 75 and run.stderr.endswith("ended by SIGTERM; the same command goes on\n"), run.stderr


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As under `nohup`."""
    script = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\nfrom cmrgz.cli import"
    script = ENDED.replace("from cmrgz.cli import", script).format(
        what="signal.raise_signal(signal.SIGHUP)", name="probe"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert (run.returncode, run.stderr) == (0, "")


def test_an_exit_that_python_does_not_see_is_told() -> None:
    run = ended("os._exit(0)")
    assert run.returncode == 5, "it must not look like success"
    assert run.stderr == "cmrgz: error[plugin-broken]: __main__: ended the program by os._exit(0)\n"
    run = ended("os.fork() or os._exit(9)")
    assert (run.returncode, run.stderr) == (0, ""), "a fork ends as it likes"


def test_a_path_is_printed_as_it_is_and_other_text_escaped(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    command = [sys.executable, "-m", "cmrgz", "plugins", "new", "my-model", "-o", folder]
    assert subprocess.run(command, capture_output=True, timeout=300).stdout == os.fsencode(folder) + b"\n"
    run = ended("print(chr(233), chr(0xdcff))", PYTHONIOENCODING="ascii")
    assert (run.returncode, run.stdout) == (0, "\\xe9 \\udcff\n"), run.stderr
