"""`pytest --cmrgz NAME`: the conformance suite on a registered name, one item a check.

It is loaded by every run of pytest beside cmrgz, so it imports nothing heavy before a name is given. Checks that are
expected to fail stand in a file, or under `cmrgz_xfail` in pytest's configuration, one a line with the reason:

    my-model  seeds_repeat_and_differ  a plain regression has one answer
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

Reasons = dict[tuple[str, str], str]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("cmrgz", "conformance of plugins of cmrgz")
    name_help = "check a model, tokenizer, metric or mask pattern; again for another; alone without paths of tests"
    group.addoption("--cmrgz", action="append", default=[], metavar="NAME", help=name_help)
    file_help = "file of checks that are expected to fail, a line each: NAME CHECK REASON"
    group.addoption("--cmrgz-xfail", action="append", default=[], metavar="FILE", help=file_help)
    parser.addini("cmrgz_xfail", "checks that are expected to fail: NAME CHECK REASON", type="linelist", default=[])


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests of the folder alone where names are given and no paths."""
    del collection_path
    named = config.getoption("--cmrgz") and config.args_source is not pytest.Config.ArgsSource.ARGS
    return True if named else None


@pytest.hookimpl(tryfirst=True)  # before items are selected by -k
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the checks of the names that are given."""
    names = config.getoption("--cmrgz")
    if names:
        reasons = _reasons(config)
        items += [item for name in names for item in _items(session, name, reasons)]


class CheckItem(pytest.Item):
    """One check of one name."""

    def __init__(self, *, check: Callable[[], None], promise: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.check, self.promise = check, promise

    def runtest(self) -> None:
        """Make the check."""
        self.check()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Say what was promised and what was found; with --full-trace how, too."""
        from cmrgz.testing.conformance import line

        if self.config.getoption("fulltrace", False):
            return super().repr_failure(excinfo, style)
        return f"{self.promise}\n{line(excinfo.value)}"

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return what heads a failure."""
        return self.path, None, self.nodeid


def _items(session: pytest.Session, name: str, reasons: Reasons) -> list[pytest.Item]:
    from cmrgz.errors import CmrgzError
    from cmrgz.testing.conformance import checks_of, for_pytest, promise

    try:
        checks = checks_of(name)
    except CmrgzError as error:
        raise pytest.UsageError(error.line) from error
    for owner, check in reasons:
        if owner == name and check not in checks:
            raise pytest.UsageError(f"cmrgz_xfail: '{name}' has no check '{check}'")
    found: list[pytest.Item] = []
    for check, function in checks.items():
        item = CheckItem.from_parent(
            session, name=check, nodeid=f"cmrgz::{name}::{check}", check=for_pytest(function), promise=promise(function)
        )
        if (name, check) in reasons:
            # Strict: a check that passes after all fails, so that the list stays true.
            item.add_marker(pytest.mark.xfail(reason=reasons[name, check], strict=True))
        found.append(item)
    return found


def _reasons(config: pytest.Config) -> Reasons:
    """Return why checks are expected to fail, by name and check."""
    lines = list(config.getini("cmrgz_xfail"))
    for file in config.getoption("--cmrgz-xfail"):
        try:
            lines += (config.invocation_params.dir / file).read_text().splitlines()
        except OSError as error:
            raise pytest.UsageError(f"--cmrgz-xfail: {file}: {error.strerror}") from error
    return _parsed(lines)


def _parsed(lines: Iterable[str]) -> Reasons:
    reasons: Reasons = {}
    for line in lines:
        text = line.partition("#")[0].strip()
        words = text.split(maxsplit=2)
        if words and len(words) < 3:
            raise pytest.UsageError(f"cmrgz_xfail: expected NAME CHECK REASON, got '{text}'")
        if words:
            reasons[words[0], words[1]] = words[2]
    return reasons
