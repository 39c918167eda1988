"""Synthetic plugins, found as installed ones are, and the collection of bad inputs where it is at hand."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

from cmrgz import registry

Install = Callable[..., list[EntryPoint]]
ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """Return the files of the repository; what else lies in a checkout, like an environment, is no part of it."""
    if not (ROOT / ".git").exists():  # an archive of the sources
        return sorted(path for path in ROOT.rglob("*") if path.is_file())
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    return sorted(path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file())


@pytest.fixture(scope="session")
def bad_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of malformed and unusual files with a `manifest.json`."""
    script = SHARED / "bad_inputs" / "make_bad_inputs.py"
    if not script.exists():
        pytest.skip("the collection of bad inputs is not here")
    folder = tmp_path_factory.mktemp("bad_inputs")
    subprocess.run([sys.executable, script, folder], check=True, stdout=subprocess.DEVNULL, timeout=300)
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of an untrained ar-vq that sees items of 64 x 64, with codes of noise of all scales."""
    import torch
    from cmrgz_ar_vq.network import build
    from cmrgz_tokenizers import vq
    from torch.nn.functional import interpolate

    from cmrgz import checkpoint
    from cmrgz.plugin import Extent
    from cmrgz.rng import Streams

    options = {"vocab": 32, "levels": 2, "width": 16, "fine_width": 8, "blocks": 1, "lloyd": 3}
    architecture = {"grid": (8, 8), "width": 32, "heads": 2, "inner": 32, "content_layers": 1, "target_layers": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        coarse = (interpolate(torch.rand(12, 1, n, n), 64, mode="bilinear") for n in (2, 8, 64))
        items = (torch.stack(list(coarse)).mean(0) * 4 - 2).clamp(-1, 1)
        tokenizer = vq.build(**options)
        tokenizer.fit(items, rng=Streams(0, [("fit",)]))
        model = build(tokenizer, **architecture, free=4)
        model.fit(items, rng=Streams(0, [("fit",)]))
        for parameter in model.network.head.parameters():  # as built it says the same of every code
            parameter.data += 0.3 * torch.randn_like(parameter)
    meta = checkpoint.describe(registry.get_tokenizer("vq"), options, extent=Extent(item=(64, 64)))
    facts = checkpoint.describe(registry.get_model("ar-vq"), architecture | {"free": 4}, extent=Extent(item=(64, 64)))
    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    checkpoint.save(folder, model, facts, tokenizer=(tokenizer, meta))
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
