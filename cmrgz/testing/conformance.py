"""The conformance suite: every check on a registered model or tokenizer, from the command line or from pytest.

cmrgz plugins check my-model

from cmrgz.testing.conformance import parametrize_with_checks

@parametrize_with_checks("my-model")
def test_it_conforms(check):
check()
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from cmrgz import registry
from cmrgz.errors import CmrgzError, UsageError, did_you_mean
from cmrgz.testing.checks import MODEL_CHECKS, TOKENIZER_CHECKS
from cmrgz.testing.checks.training import Skipped
from cmrgz.testing.subject import Subject


@dataclass(frozen=True)
class Result:
    """What a check found.

    Attributes:
        name: Of the check.
        status: `passed`, `failed` or `skipped`.
        promise: What is checked, in one sentence.
        reason: Why it failed or was skipped, in one line.
        seconds: How long it took.
    """

    name: str
    status: Literal["passed", "failed", "skipped"]
    promise: str
    reason: str = ""
    seconds: float = 0.0


def checks_of(name: str) -> dict[str, Callable[[], None]]:
    """Return the checks of a registered model or tokenizer by name, each to be called without arguments.

    Raises:
        UsageError: `unknown-plugin`.
        PluginError: It is broken.
    """
    if name in registry.models():
        subject = Subject.of(name)
        return {check: partial(function, subject) for check, function in MODEL_CHECKS.items()}
    if name in registry.tokenizers():
        spec = registry.get_tokenizer(name)
        return {check: partial(function, spec) for check, function in TOKENIZER_CHECKS.items()}
    hint = did_you_mean(name, [*registry.models(), *registry.tokenizers()])
    raise UsageError("unknown-plugin", name, "no registered model or tokenizer has this name", hint=hint)


def run_checks(name: str) -> Iterator[Result]:
    """Yield what each check of a registered name finds; one that fails does not stop the others."""
    for check, function in checks_of(name).items():
        start = time.perf_counter()
        status, reason = _outcome(function)
        promise = _promise(function)
        yield Result(check, status, promise, reason, round(time.perf_counter() - start, 2))


def _outcome(function: Callable[[], None]) -> tuple[Literal["passed", "failed", "skipped"], str]:
    try:
        function()
    except Skipped as reason:
        return "skipped", str(reason)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a plugin may raise anything, SystemExit too
        return "failed", _line(error)
    return "passed", ""


def _line(error: BaseException) -> str:
    """Return an error in one line."""
    text = error.what if isinstance(error, CmrgzError) else str(error).strip().splitlines()[0] if str(error) else ""
    kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
    return f"{kind}{text}" or "an assertion failed"


def _promise(function: Callable[[], None]) -> str:
    documented = function.func if isinstance(function, partial) else function
    return (documented.__doc__ or "").strip().splitlines()[0]


def parametrize_with_checks(name: str, expected_failures: Mapping[str, str] | None = None) -> Any:
    """Return a decorator that runs a test once for each check of a registered name.

    The test is given `check`, to be called without arguments.

    Args:
        name: A registered model or tokenizer.
        expected_failures: Reason by check. A check that is expected to fail and passes is a failure, so that the list
            stays true.

    Raises:
        UsageError: `unknown-key`: an expected failure names no check.
    """
    import pytest

    checks = checks_of(name)
    expected = dict(expected_failures or {})
    for unknown in expected.keys() - checks.keys():
        raise UsageError(
            "unknown-key", "expected_failures", f"no check '{unknown}'", hint=did_you_mean(unknown, checks)
        )
    marks = {check: [pytest.mark.xfail(reason=reason, strict=True)] for check, reason in expected.items()}
    parameters = [pytest.param(_skipping(f), id=check, marks=marks.get(check, [])) for check, f in checks.items()]
    return pytest.mark.parametrize("check", parameters)


def _skipping(function: Callable[[], None]) -> Callable[[], None]:
    """Return a check that skips a test of pytest where it cannot be made."""

    def check() -> None:
        import pytest

        try:
            function()
        except Skipped as reason:
            pytest.skip(str(reason))

    return check
