"""`pytest --cmrgz NAME`, run by pytest."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from cmrgz.data.mask_patterns import PATTERNS
from cmrgz.testing.conformance import checks_of

pytest_plugins = ["pytester"]
INSTALLED = bool(entry_points(group="pytest11", name="cmrgz"))
LOAD = [] if INSTALLED else ["-p", "cmrgz.testing.pytest_plugin"]


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess(*LOAD, "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *words)


def test_each_check_is_an_item(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_of_the_folder(): assert False")
    result = run(pytester, "--cmrgz", "patch", "--cmrgz", "mse-hole", "-v")
    result.assert_outcomes(passed=len(checks_of("patch")) + len(checks_of("mse-hole")))
    result.stdout.fnmatch_lines(["cmrgz::patch::share_is_exact PASSED*", "cmrgz::mse-hole::direction_holds PASSED*"])


def test_what_cannot_be_checked_is_skipped_and_items_are_selected(pytester: pytest.Pytester) -> None:
    run(pytester, "--cmrgz", "lesion").assert_outcomes(passed=3, skipped=2)
    run(pytester, "--cmrgz", "kt").assert_outcomes(passed=5)
    run(pytester, "--cmrgz", "kt", "-k", "boolean").assert_outcomes(passed=1, deselected=4)


def test_named_tests_run_beside_it_and_nothing_without_it(pytester: pytest.Pytester) -> None:
    file = pytester.makepyfile("def test_of_the_folder(): pass")
    run(pytester, "--cmrgz", "kt", str(file)).assert_outcomes(passed=6)
    run(pytester).assert_outcomes(passed=1)


def test_several_processes_check_the_same(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    pytester.makepyfile("def test_of_the_folder(): assert False")
    run(pytester, "--cmrgz", "kt", "-n", "1").assert_outcomes(passed=5)


def test_a_failure_says_what_was_promised_and_found(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PATTERNS, "hostile", type(PATTERNS["patch"])(lambda plane: plane.draw.seed + plane.rows))
    result = run(pytester, "--cmrgz", "hostile")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*cmrgz::hostile::*", "*.", "*", "FAILED cmrgz::hostile::*"])


@pytest.mark.parametrize("by", ["file", "ini"])
def test_expected_failures_have_reasons_and_are_strict(by: str, pytester: pytest.Pytester) -> None:
    lines = ["# of ours", "", "patch  share_is_exact  it is exact, so this expectation is wrong"]
    if by == "file":
        pytester.makefile(".txt", expected="\n".join(lines))
        result = run(pytester, "--cmrgz", "patch", "--cmrgz-xfail", "expected.txt")
    else:
        pytester.makeini("[pytest]\ncmrgz_xfail =\n    " + "\n    ".join(lines[2:]))
        result = run(pytester, "--cmrgz", "patch")
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)*it is exact, so this expectation is wrong*"])


def test_an_expected_failure_is_none(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PATTERNS, "fixed", type(PATTERNS["patch"])(lambda plane: plane.draw.seed + 0 * plane.rows))
    pytester.makefile(".txt", expected="fixed share_is_exact scores of another shape")
    result = run(pytester, "--cmrgz", "fixed", "--cmrgz-xfail", "expected.txt", "-k", "share_is_exact", "-rx")
    result.assert_outcomes(xfailed=1, deselected=4)
    result.stdout.fnmatch_lines(["XFAIL cmrgz::fixed::share_is_exact*scores of another shape"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--cmrgz", "ptch"], "*unknown-plugin*did you mean 'patch'*"),
        (["--cmrgz", "patch", "--cmrgz-xfail", "none.txt"], "*none.txt: No such file*"),
        (["--cmrgz", "patch", "-o", "cmrgz_xfail=patch share_is_exct because"], "*has no check 'share_is_exct'*"),
        (["--cmrgz", "patch", "-o", "cmrgz_xfail=patch share_is_exact"], "*expected NAME CHECK REASON*"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(words: list[str], line: str, pytester: pytest.Pytester) -> None:
    result = run(pytester, *words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([line])


def test_it_is_light() -> None:
    code = (
        "import sys, pytest, cmrgz.testing.pytest_plugin\n"
        "heavy = {'torch', 'numpy', 'scipy', 'cmrgz.registry'} & sys.modules.keys(); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
