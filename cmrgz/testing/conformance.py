"""The conformance suite: every check on a registered name, from the command line or from pytest.

    cmrgz plugins check my-model
    pytest --cmrgz my-model

or in a file of tests:

    from cmrgz.testing.conformance import parametrize_with_checks

    @parametrize_with_checks("my-model")
    def test_it_conforms(check):
        check()
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from cmrgz import __version__, registry
from cmrgz.data.mask_patterns import PATTERNS
from cmrgz.errors import CmrgzError, UsageError, did_you_mean
from cmrgz.evaluation.metrics import FRAME_METRICS
from cmrgz.testing.checks import BLOCK_CHECKS, MASK_CHECKS, METRIC_CHECKS, MODEL_CHECKS, ONCE, TOKENIZER_CHECKS
from cmrgz.testing.checks.outcomes import Shown, Skipped
from cmrgz.testing.subject import Subject

Status = Literal["passed", "failed", "skipped", "shown"]


@dataclass(frozen=True)
class Result:
    """What a check found.

    Attributes:
        name: Of the check.
        status: `passed`, `failed`, `skipped`, or `shown` for a verdict that is neither good nor bad.
        promise: What is checked, in one sentence.
        reason: Why it failed or was skipped, or the verdict, in one line.
        seconds: How long it took.
    """

    name: str
    status: Status
    promise: str
    reason: str = ""
    seconds: float = 0.0


def checks_of(name: str) -> dict[str, Callable[[], None]]:
    """Return the checks of a model, tokenizer, metric or mask pattern, each to be called without arguments.

    A model that takes frames and blocks is checked on both; names of checks on its blocks begin with `blocks.`.

    Args:
        name: As registered; also `package:name`.

    Raises:
        UsageError: `unknown-plugin`.
        PluginError: It is broken.
    """
    if registry.find(name, registry.models()) is not None:
        return _model_checks(Subject.every(name))
    if registry.find(name, registry.tokenizers()) is not None:
        return _bound(TOKENIZER_CHECKS, registry.get_tokenizer(name))
    if name in FRAME_METRICS:
        return _bound(METRIC_CHECKS, FRAME_METRICS[name])
    if name in PATTERNS:
        return _bound(MASK_CHECKS, name)
    hint = did_you_mean(name, [*registry.models(), *registry.tokenizers(), *FRAME_METRICS, *PATTERNS])
    what = "no registered model or tokenizer, no metric and no mask pattern has this name"
    raise UsageError("unknown-plugin", name, what, hint=hint if hint.startswith("did") else "see cmrgz models")


def _model_checks(subjects: Sequence[Subject]) -> dict[str, Callable[[], None]]:
    """Return the checks of a model on what it sees: frames, blocks or both."""
    first, *others = subjects
    found = _bound(MODEL_CHECKS | (BLOCK_CHECKS if first.on_blocks else {}), first)
    for subject in others:
        bound = _bound(MODEL_CHECKS | BLOCK_CHECKS, subject)
        found |= {f"blocks.{name}": check for name, check in bound.items() if name not in ONCE}
    return found


def _bound(checks: Mapping[str, Callable[[Any], None]], subject: Any) -> dict[str, Callable[[], None]]:
    return {name: partial(check, subject) for name, check in checks.items()}


def owner_of(name: str) -> str:
    """Return package and version of what has a name: those of cmrgz for its metrics and mask patterns."""
    entries: dict[str, registry.Entry[Any]] = {**registry.tokenizers(), **registry.models()}
    entry = registry.find(name, entries)
    return f"cmrgz {__version__}" if entry is None else f"{entry.package} {entry.version}"


def run_checks(name: str) -> Iterator[Result]:
    """Yield what each check of a registered name finds; one that fails does not stop the others.

    On one thread: more of them slow networks as small as these down, and many times where the machine is busy.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for check, function in checks_of(name).items():
            start = time.perf_counter()
            status, reason = outcome(function)
            yield Result(check, status, promise(function), reason, round(time.perf_counter() - start, 2))
    finally:
        torch.set_num_threads(threads)


def outcome(function: Callable[[], None]) -> tuple[Status, str]:
    """Return what a check finds, and why, in one line."""
    try:
        function()
    except Skipped as reason:
        return "skipped", str(reason)
    except Shown as verdict:
        return "shown", str(verdict)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a plugin may raise anything, SystemExit too
        return "failed", line(error)
    return "passed", ""


def line(error: BaseException) -> str:
    """Return an error in one line."""
    text = error.what if isinstance(error, CmrgzError) else str(error).strip().splitlines()[0] if str(error) else ""
    kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
    return f"{kind}{text}" or "an assertion failed"


def promise(function: Callable[[], None]) -> str:
    """Return what a check promises, in one sentence."""
    # Checks are bound to what they are made on, which hides their docstring.
    documented = function.func if isinstance(function, partial) else function
    return (documented.__doc__ or "").strip().splitlines()[0]


def parametrize_with_checks(name: str, expected_failures: Mapping[str, str] | None = None) -> Any:
    """Return a decorator that runs a test once for each check of a registered name.

    The test is given `check`, to be called without arguments.

    Args:
        name: A model, tokenizer, metric or mask pattern.
        expected_failures: Reason by check. A check that is expected to fail and passes is a failure, so that the list
            stays true.

    Raises:
        UsageError: `unknown-key`: an expected failure names no check.
    """
    # Only here: `cmrgz plugins check` works where pytest is not installed.
    import pytest

    checks = checks_of(name)
    expected = dict(expected_failures or {})
    for unknown in expected.keys() - checks.keys():
        raise UsageError(
            "unknown-key", "expected_failures", f"no check '{unknown}'", hint=did_you_mean(unknown, checks)
        )
    marks = {check: [pytest.mark.xfail(reason=reason, strict=True)] for check, reason in expected.items()}
    parameters = [pytest.param(for_pytest(f), id=check, marks=marks.get(check, [])) for check, f in checks.items()]
    return pytest.mark.parametrize("check", parameters)


def for_pytest(function: Callable[[], None]) -> Callable[[], None]:
    """Return a check that skips a test of pytest where it cannot be made, and prints what it has to show."""

    def check() -> None:
        import pytest

        try:
            function()
        except Skipped as reason:
            pytest.skip(str(reason))
        except Shown as verdict:
            sys.stdout.write(f"{verdict}\n")

    return check
