"""Synthetic plugins, found as installed ones are, and the collection of bad inputs where it is at hand."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

from cmrgz import registry

Install = Callable[..., list[EntryPoint]]
SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def bad_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of malformed and unusual files with a `manifest.json`."""
    script = SHARED / "bad_inputs" / "make_bad_inputs.py"
    if not script.exists():
        pytest.skip("the collection of bad inputs is not here")
    folder = tmp_path_factory.mktemp("bad_inputs")
    subprocess.run([sys.executable, script, folder], check=True, stdout=subprocess.DEVNULL, timeout=60)
    return folder


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return `install(distribution, {name: target}, {module: source}, version=, group=)` -> its entry points.

    The modules can be imported and the entry points are found by the registry for the length of a test.
    """
    root = tmp_path / "site"
    root.mkdir()
    monkeypatch.syspath_prepend(root)
    before = set(sys.modules)
    registry._installed.cache_clear()

    def make(
        distribution: str,
        points: dict[str, str],
        modules: dict[str, str] | None = None,
        version: str = "1.0",
        group: str = registry.MODELS,
    ) -> list[EntryPoint]:
        for module, source in (modules or {}).items():
            (root / f"{module}.py").parent.mkdir(exist_ok=True)
            (root / f"{module}.py").write_text(source)
        folder = root / f"{distribution.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
        (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
        registry._installed.cache_clear()
        found = distributions(path=[str(root)])
        return [p for d in found if d.name == distribution for p in d.entry_points if p.group == group]

    yield make
    registry._installed.cache_clear()
    for name in set(sys.modules) - before:
        if str(root) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
