"""Two packages with one name: refused with how to choose, shown everywhere, and each usable by its full name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cmrgz import checkpoint, registry
from cmrgz.authoring.doctor import diagnose, listed
from cmrgz.authoring.template import MODEL
from cmrgz.cli import main
from cmrgz.errors import PluginError
from cmrgz.testing.subject import Subject

SPEC = """
from cmrgz.plugin import ModelSpec
SPEC = ModelSpec(name="twice", family="test", summary="one of two with the same name", build="{module}_model:build",
                 tiny={{"width": {width}}})
"""
SCAN = Path(__file__).resolve().parents[2] / "examples" / "phantom.nii.gz"
ONE, TWO = "one-dist:twice", "two-dist:twice"
BOTH = "registered by one-dist 1.0 and by two-dist 2.0"


@pytest.fixture(autouse=True)
def _two(install: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, package, version, width in (("one", "one-dist", "1.0", 4), ("two", "two-dist", "2.0", 6)):
        sources = {module: SPEC.format(module=module, width=width), f"{module}_model": MODEL.replace("$cls", "Twice")}
        install(package, {"twice": f"{module}:SPEC"}, sources, version=version)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))


@pytest.mark.parametrize("words", [["models", "twice"], ["plugins", "info", "twice"], ["plugins", "check", "twice"]])
def test_the_name_alone_is_refused(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 5
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("cmrgz: error[plugin-duplicate]: twice: ")
    assert BOTH in line and f"write {ONE} or {TWO}" in line


def test_train_and_inpaint_refuse_it_before_they_start(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "twice", "-o", str(tmp_path / "run")]) == 5
    assert main(["inpaint", str(SCAN), "--model", "twice", "--mask", "0.5"]) == 5
    assert capfd.readouterr().err.count(BOTH) == 2 and not (tmp_path / "run").exists()


def test_listings_show_both(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0 and main(["plugins", "list"]) == 0
    told = capfd.readouterr().out
    models, plugins = told[: told.index("Tokenizers")], told[told.index("Tokenizers") :]
    assert "BROKEN  plugin-duplicate: " + BOTH in models and f"  {ONE} " in models and f"  {TWO} " in models
    assert f"also registered by two-dist 2.0: write {ONE}" in plugins
    assert f"also registered by one-dist 1.0: write {TWO}" in plugins
    assert main(["plugins", "list", "--json"]) == 0
    rivals = {row["package"]: row["rivals"] for row in json.loads(capfd.readouterr().out)}
    assert rivals["one-dist"] == ["two-dist 2.0"] and rivals["cmrgz-tokenizers"] == []


def test_doctor_shows_both_by_their_package(capfd: pytest.CaptureFixture[str]) -> None:
    assert [(d.plugin.package, d.status) for d in diagnose([TWO])] == [("two-dist", "clashes")]
    assert main(["plugins", "doctor", "twice"]) == 5
    told = capfd.readouterr()
    assert "clashes  twice  [one-dist 1.0]" in told.out and "clashes  twice  [two-dist 2.0]" in told.out


def test_an_allow_list_settles_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMRGZ_PLUGINS", "two-dist")
    assert registry.get_model("twice").tiny == {"width": 6}
    assert [(p.package, p.rivals) for p in listed() if p.allowed] == [("two-dist", ())]


@pytest.mark.parametrize(("name", "width"), [(ONE, 4), (TWO, 6)])
def test_a_full_name_is_good_for_everything(
    name: str, width: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "info", name, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["package"] == name.partition(":")[0]
    subject = Subject.of(name)
    subject.save(tmp_path / "saved")
    model, meta = checkpoint.open_model(tmp_path / "saved")
    assert meta.qualified == name and meta.options == {"width": width}
    assert type(model).__module__ == f"{name[:3]}_model"
    with pytest.raises(PluginError, match=BOTH):
        Subject.of("twice")
