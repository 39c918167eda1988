"""`examples/benchmarks/compare.py`, both sides of which are here in this process."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "benchmarks" / "compare.py"


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_benchmark", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "FAMILIES", ())
    monkeypatch.setattr(module, "EXTENTS", {"frames": ("yx", (32, 32))})
    return module


def rows(
    compare: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *changed: str
) -> list[list[str]]:
    """Return the cells of all rows; what is asked of the checkout named `changed` comes out otherwise."""

    class Here(compare.Side):  # type: ignore[name-defined, misc]
        def __init__(self, checkout: Path, *_: Any) -> None:
            self.changed = checkout.name in changed

        def ask(self, request: dict[str, Any]) -> dict[str, Any]:
            reply: dict[str, Any] = compare.answer(request)
            return reply | ({"made": ""} if self.changed else {})

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(compare, "Side", Here)
    monkeypatch.setattr(sys, "argv", ["compare", "old", "--rounds", "2", "--items", "4"])
    compare.main()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]


def test_items_are_read_on_both_sides(
    compare: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = rows(compare, monkeypatch, capsys)
    assert [cells[0] for cells in found] == [
        f"4 {of} from {where}" for of in compare.EXTENTS for where in ("files", "bank")
    ]
    assert all(float(cells[1]) > 0 and float(cells[3]) > 0 and cells[5] == "yes" for cells in found)
    assert all(cells[5] == "no" for cells in rows(compare, monkeypatch, capsys, "old"))


def test_what_a_checkout_lacks_ends_nothing(compare: ModuleType) -> None:
    step = {"what": "step", "name": "no-such-model", "batch": 2}
    assert "no-such-model" in compare.answer(step)["failed"]
    assert {"seconds", "made"} == compare.answer({**step, "name": "ldm-dit"}).keys()


def test_options_are_numbers_or_names(compare: ModuleType) -> None:
    assert [compare.option(text)[1] for text in ("steps=4", "temperature=0.5", "order=smc")] == [4, 0.5, "smc"]
