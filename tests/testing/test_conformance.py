"""The suite on our own plugins, which pass, and on hostile ones, each of which is caught by the check meant for it."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cmrgz import registry
from cmrgz.authoring.doctor import diagnose, listed
from cmrgz.authoring.template import MODEL, write
from cmrgz.cli import main
from cmrgz.data.mask_patterns import PATTERNS
from cmrgz.errors import UsageError
from cmrgz.evaluation.metrics import FRAME_METRICS
from cmrgz.testing.checks.resources import cached_equals_uncached
from cmrgz.testing.conformance import checks_of, for_pytest, outcome, parametrize_with_checks, run_checks
from cmrgz.testing.subject import Subject

NAMES = [*registry.models(), *registry.tokenizers()]
SHOWN_FOR = "ar-maskgit"
"""The one of ours whose verdict is looked at; it takes seconds for each."""
BLOCKS_SHOWN_FOR = "ldm-dit"
"""The one of ours that is checked on blocks whenever tests run; the others where slow tests do."""


def _slow(name: str, check: str) -> bool:
    return check.startswith("blocks.") and name != BLOCKS_SHOWN_FOR


CASES = [
    pytest.param(name, check, id=f"{name}-{check}", marks=[pytest.mark.slow] if _slow(name, check) else [])
    for name in NAMES
    for check in checks_of(name)
    if not check.endswith("draws_are_its_posterior") or name == SHOWN_FOR
]

SPEC = """
from cmrgz.plugin import ModelSpec
SPEC = ModelSpec(name="hostile", family="test", summary="a model that breaks a promise", build="hostile_model:build",
                 tiny={{"width": 8}}, conditions={conditions})
"""
GOOD = MODEL.replace("$cls", "Hostile")
LOSS = "        return nll[~known].mean()"
INIT = "        super().__init__()\n"
END = "        return mean + temperature * log_std.exp() * noise\n"
START = "        mean, log_std = self.predict(x, known)\n        noise"


def package(source: str, spec: str = "", conditions: tuple[str, ...] = ()) -> tuple[dict[str, str], dict[str, str]]:
    """Return entry points and modules of a hostile plugin, as `install` takes them."""
    modules = {"hostile_spec": spec + SPEC.format(conditions=conditions), "hostile_model": source}
    return {"hostile": "hostile_spec:SPEC"}, modules


checks_of_ours = cache(checks_of)
"""They share what they are run on, which is costly to make, as they do in `run_checks`."""


@pytest.mark.parametrize(("name", "check"), CASES)
def test_our_own_plugins_conform(name: str, check: str) -> None:
    for_pytest(checks_of_ours(name)[check])()


@pytest.mark.parametrize("name", [*FRAME_METRICS, *PATTERNS])
def test_our_own_metrics_and_masks_conform(name: str) -> None:
    assert [r for r in run_checks(name) if r.status == "failed"] == []


def drawing(code: str) -> tuple[str, str]:
    """Return what to replace so that `code` runs before the result is returned."""
    return END, f"        out = mean + temperature * log_std.exp() * noise\n{code}        return out\n"


HOSTILE: dict[str, tuple[tuple[str, str], str]] = {
    "wrong shape": (drawing("        out = out[..., 1:]\n"), "output_is_an_item"),
    "wrong type": (drawing("        out = out.double()\n"), "output_is_an_item"),
    "not a number": (drawing("        out[0, 0, 0, 0] = torch.nan\n"), "output_is_an_item"),
    "no tensor": (drawing("        out = out.tolist()\n"), "output_is_an_item"),
    "its input": (drawing("        out = x\n"), "inputs_are_left_alone"),
    "a changed input": (drawing("        x[known] = 0.5\n"), "inputs_are_left_alone"),
    "one draw for all": (
        ("rng.normal(*x.shape[1:])", "Streams(0, [(0,)]).normal(*x.shape[1:])"),
        "seeds_repeat_and_differ",
    ),
    "global numbers": (drawing("        out = out + 0 * torch.randn(1)\n"), "global_state_is_untouched"),
    "a seed of its own": (drawing("        torch.manual_seed(0)\n"), "global_state_is_untouched"),
    "its neighbours": (drawing("        out = out - out.mean(0)\n"), "batch_invariance"),
    "hidden values": (drawing("        out = out + 0.1 * x\n"), "no_peek"),
    "known part unused": (
        (START, "        mean, log_std = self.predict(0 * x, known)\n        noise"),
        "known_part_matters",
    ),
    "other polarity": (
        (START, "        mean, log_std = self.predict(0 * x, ~known)\n        noise"),
        "known_part_matters",
    ),
    "no progress": (("            progress(1, 1)\n", "            pass\n"), "progress_and_cancel"),
    "progress that falls": (
        ("            progress(1, 1)\n", "            progress(2, 2)\n            progress(1, 2)\n"),
        "progress_and_cancel",
    ),
    "prints": (drawing("        print('hello')\n"), "quiet_and_tidy"),
    "a file": (drawing("        open('left.txt', 'w').close()\n"), "quiet_and_tidy"),
    "a connection": (
        drawing("        import socket\n        with socket.socket() as s:\n            s.connect(('127.0.0.1', 9))\n"),
        "quiet_and_tidy",
    ),
    "sys.exit": (drawing("        raise SystemExit(3)\n"), "output_is_an_item"),
    "no loss": ((LOSS, "        return nll[~known]"), "loss_is_a_function_of_its_streams"),
    "a loss that is none": (
        (LOSS, f"{LOSS} * torch.nan"),
        "loss_is_a_function_of_its_streams",
    ),
    "a loss of global numbers": (
        (LOSS, f"{LOSS} + 0 * torch.rand(())"),
        "loss_is_a_function_of_its_streams",
    ),
    "a weight without gradient": (
        (INIT, f"{INIT}        self.unused = nn.Parameter(torch.zeros(3))\n"),
        "gradients_reach_every_weight",
    ),
    "nothing is learnt": ((LOSS, LOSS.replace("nll", "1 + 0 * nll")), "learns_one_batch"),
    "state outside of its weights": (
        drawing("        out = out + float(id(self) % 997) * 1e-4\n"),
        "checkpoint_draws_the_same",
    ),
    "a count of its own": (
        (LOSS, f"        self.__dict__['count'] = self.__dict__.get('count', 0) + 1\n{LOSS} * (1 + 0.1 * self.count)"),
        "resumed_run_is_the_unbroken_one",
    ),
    "weights that were put by": (
        (
            START,
            "        import copy\n        kept = self.__dict__.setdefault('kept', copy.deepcopy(self.network))\n"
            + START.replace("noise", "mean = mean + kept[0].bias.sum()\n        noise"),
        ),
        "averaged_weights_are_drawn_from",
    ),
    "memory of every pair of items": (
        drawing("        pairs = (x[:, None] - x[None]).repeat(1, 1, 8, 1, 1)\n        out = out + 0 * pairs.sum()\n"),
        "memory_is_linear_in_the_batch",
    ),
    "memory that is kept": (
        drawing("        self.__dict__.setdefault('kept', []).append(torch.zeros(1 << 20))\n"),
        "memory_is_given_back",
    ),
    "an earlier draw": (
        drawing(
            "        out = out + 1e-3 * self.__dict__.get('last', 0.0)\n"
            "        self.__dict__['last'] = float(out.mean())\n"
        ),
        "earlier_draws_leave_no_trace",
    ),
    "an option without help": (
        ('Annotated[float, "spread of what is drawn; 0 is the mean", Range(0, 10)]', "float"),
        "options_are_described",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", list(HOSTILE))
def test_a_hostile_model_is_caught(fault: str, install: Callable[..., Any]) -> None:
    (old, new), check = HOSTILE[fault]
    assert old in GOOD
    source = GOOD.replace(old, new)
    install(
        "hostile",
        {"hostile": "hostile_spec:SPEC"},
        {"hostile_spec": SPEC.format(conditions=()), "hostile_model": source},
    )
    status, reason = outcome(checks_of("hostile")[check])
    assert status == "failed" and reason and "\n" not in reason, (status, reason)


def test_the_template_conforms(install: Callable[..., Any]) -> None:
    """And is what the hostile models were made from; it draws every pixel by itself, which is no posterior."""
    install("hostile", *package(GOOD))
    results = list(run_checks("hostile"))
    assert [r for r in results if r.status == "failed"] == []
    (verdict,) = [r.reason for r in results if r.status == "shown"]
    assert verdict.startswith("heuristic: ")


def test_a_cache_that_forgets_is_caught() -> None:
    subject = Subject.of("ar-vq")
    cached_equals_uncached(subject)
    subject.model.network.extend = lambda *_: None  # type: ignore[method-assign, union-attr, assignment]
    with pytest.raises(AssertionError, match="positions"):
        cached_equals_uncached(subject)


def test_a_declared_condition_that_is_not_used_is_caught(install: Callable[..., Any]) -> None:
    install("hostile", *package(GOOD, conditions=("phase",)))
    found = outcome(checks_of("hostile")["conditions_may_be_missing"])
    assert found == ("failed", "'phase' does not matter")


def test_a_spec_that_imports_torch_is_caught(install: Callable[..., Any]) -> None:
    install("hostile", *package(GOOD, "import torch\n"))
    status, reason = outcome(checks_of("hostile")["spec_needs_no_torch"])
    assert status == "failed" and "imports" in reason and "torch" in reason


# ---------------------------------------------------------------------- pytest and expected failures
def test_expected_failures_are_named_and_strict() -> None:
    def test(check: Callable[[], None]) -> None:
        check()

    (mark,) = parametrize_with_checks("fsq", {"loss_trains": "a reason"})(test).pytestmark
    assert [p.id for p in mark.args[1]] == list(checks_of("fsq"))
    (expected,) = [p for p in mark.args[1] if p.marks]
    assert expected.id == "loss_trains" and expected.marks[0].kwargs == {"reason": "a reason", "strict": True}
    with pytest.raises(UsageError, match="loss_trains"):
        parametrize_with_checks("fsq", {"loss_train": "a reason"})
    with pytest.raises(UsageError, match="did you mean.*fsq"):
        parametrize_with_checks("fqs")


# ---------------------------------------------------------------------- the command
def test_check_exits_by_what_it_found(capfd: pytest.CaptureFixture[str], install: Callable[..., Any]) -> None:
    assert main(["plugins", "check", "patch", "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert {row["status"] for row in rows} == {"passed"} and all(row["promise"].endswith(".") for row in rows)
    source = GOOD.replace(*drawing("        out = out.double()\n"))
    install(
        "hostile",
        {"hostile": "hostile_spec:SPEC"},
        {"hostile_spec": SPEC.format(conditions=()), "hostile_model": source},
    )
    assert main(["plugins", "check", "hostile"]) == 5
    told = capfd.readouterr()
    assert "failed   output_is_an_item" in told.out and "error[plugin-check]: hostile [hostile 1.0]: " in told.err
    assert main(["plugins", "check", "hostil"]) == 2
    assert "did you mean" in capfd.readouterr().err


BROKEN = {
    "raises": "raise RuntimeError('at import')",
    "exits": "import sys; sys.exit(0)",
    "kills": "import os; os._exit(0)",
    "hangs": "import time; time.sleep(60)",
    "prints": "print('{\"doctor\": 1')" + SPEC.format(conditions=()).replace("hostile", "prints"),
    "protocol": SPEC.format(conditions=()).replace("hostile", "protocol").replace("family=", "protocol=99, family="),
    "forks": "import os; os.fork() or os._exit(0); raise ValueError",
}


def test_list_and_doctor_survive_everything(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In a process of its own, because some of them end it."""
    site = tmp_path / "site"
    for name, source in BROKEN.items():
        folder = site / f"bad_{name}-2.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: bad-{name}\nVersion: 2.0\n")
        (folder / "entry_points.txt").write_text(f"[cmrgz.models]\n{name} = bad_{name}:SPEC\n")
        (site / f"bad_{name}.py").write_text(source)
    code = (
        f"import sys, json; sys.path.insert(0, {str(site)!r})\n"
        f"import os; os.environ['PYTHONPATH'] = {str(site)!r}\n"
        "from cmrgz.authoring.doctor import diagnose, listed\n"
        "names = {p.name for p in listed()}\n"
        f"found = [*diagnose({[name for name in BROKEN if name != 'hangs'] + ['fsq']!r}), *diagnose(['hangs'], 3)]\n"
        "rows = {d.plugin.name: (d.status, d.reason, d.plugin.package) for d in found}\n"
        "print(json.dumps([sorted(names), rows]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    names, found = json.loads(done.stdout.splitlines()[-1])
    assert BROKEN.keys() <= set(names)
    status = {name: row[0] for name, row in found.items()}
    assert status == {
        "raises": "broken", "exits": "broken", "kills": "crashed", "hangs": "hangs", "prints": "broken",
        "protocol": "broken", "forks": status["forks"], "fsq": "ok",
    }  # fmt: skip
    assert status["forks"] in ("broken", "crashed")
    assert "at import" in found["raises"][1] and "protocol 99" in found["protocol"][1]
    assert all(row[2] == f"bad-{name}" for name, row in found.items() if name != "fsq")


def test_doctor_and_list_of_what_is_installed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["plugins", "list", "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert {row["name"] for row in rows} >= set(NAMES)
    monkeypatch.setenv("CMRGZ_PLUGINS", "kl")
    assert {p.name for p in listed() if p.allowed} == {"kl"}
    assert [d.status for d in diagnose({"kl": None})] == ["ok"]
    monkeypatch.delenv("CMRGZ_PLUGINS")
    assert main(["plugins", "doctor", "nothing"]) == 2
    assert main(["plugins", "info", "kl", "--json"]) == 0


@pytest.mark.parametrize("name", ["My-Model", "9lives", "a_b", "x" * 41, "../up"])
def test_a_new_plugin_needs_a_name_that_can_be_registered(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", name]) == 2
    assert not any(tmp_path.iterdir())


def test_a_new_plugin_is_a_whole_package(tmp_path: Path) -> None:
    folder = write("my-model", tmp_path / "new")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "pyproject.toml", "README.md", "cmrgz_my_model/__init__.py", "cmrgz_my_model/model.py",
        "tests/test_cmrgz_my_model.py", ".github/workflows/test.yml",
    }  # fmt: skip
    assert not any("$" in path.read_text() for path in folder.rglob("*") if path.is_file())
    with pytest.raises(UsageError, match="exists"):
        write("my-model", folder)
