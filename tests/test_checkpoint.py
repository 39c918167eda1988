import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from cmrgz import checkpoint, meta, registry, weights
from cmrgz.errors import CheckpointError, PluginError, UsageError
from cmrgz.meta import Migration
from cmrgz.model import Model, Tokenizer
from cmrgz.plugin import Extent

Install = Callable[..., list[EntryPoint]]

TOKENIZER = """
from cmrgz.plugin import TokenizerSpec
SPEC = TokenizerSpec(name="toy", summary="a test", build="toytok.net:build", checkpoint={checkpoint!r})
"""
TOKENIZER_NET = """
import torch
from torch import nn
from cmrgz.model import Tokenizer

class Scale(Tokenizer):
    def __init__(self, size):
        super().__init__()
        self.patch, self.channels = size, size * size
        self.scale = nn.Parameter(torch.randn(size))
    def loss(self, x, *, condition=None, rng):
        return self.scale.sum()
    def encode(self, x):
        return x
    def decode(self, vectors):
        return vectors

def build(size: int = 4) -> Scale:
    return Scale(size)
"""
MODEL = """
from cmrgz.plugin import ModelSpec
SPEC = ModelSpec(name="ar-toy", family="ar", summary="a test", build="toymodel.net:build", tokenizer="toy")
PLAIN = ModelSpec(name="ar-plain", family="ar", summary="a test", build="toymodel.net:plain")
"""
MODEL_NET = """
import torch
from torch import nn
from cmrgz.model import Model

class Fill(Model):
    def __init__(self, width, tokenizer=None):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width))
        self.register_buffer("table", torch.linspace(0, 1, width), persistent=False)
        self.register_buffer("none", torch.empty(0))
        self.register_buffer("nothing", torch.empty(0, 3))
        self.tokenizer = tokenizer
    def loss(self, x, *, condition=None, rng):
        return self.net(x).mean()
    def sample(self, x, known, *, condition=None, rng, progress=None, steps: int = 4):
        return x

def build(tokenizer, width: int = 3, shape: tuple[int, int] = (16, 16)) -> Fill:
    return Fill(width, tokenizer)

def plain(width: int = 3) -> Fill:
    return Fill(width)
"""


@pytest.fixture
def plugins(install: Install, tmp_path: Path) -> Callable[..., None]:
    def make(bundle: bool = False, version: str = "1.2.0", model: bool = True) -> None:
        target = "toytok:weights/toy" if bundle else None
        sources = {"toytok/__init__": TOKENIZER.format(checkpoint=target), "toytok/net": TOKENIZER_NET}
        install("cmrgz-toytok", {"toy": "toytok:SPEC"}, sources, version, registry.TOKENIZERS)
        if model:
            sources = {"toymodel/__init__": MODEL, "toymodel/net": MODEL_NET}
            install("cmrgz-toy", {"ar-toy": "toymodel:SPEC", "ar-plain": "toymodel:PLAIN"}, sources, version)

    return make


def trained_tokenizer(size: int = 4) -> checkpoint.Opened[Tokenizer]:
    spec = registry.get_tokenizer("toy")
    described = checkpoint.describe(spec, {"size": size}, extent=Extent(item=(8, 8)), training={"seed": 1})
    return checkpoint.Opened(registry.build_tokenizer(spec, {"size": size}), described)


def saved(path: Path, tokenizer: checkpoint.Opened[Tokenizer] | None = None, width: int = 5, **rest: Any) -> Model:
    spec = registry.get_model("ar-toy")
    tokenizer = tokenizer or trained_tokenizer()
    model = registry.build_model(spec, tokenizer[0], {"width": width})
    described = checkpoint.describe(spec, {"width": width}, extent=Extent(item=(8, 8)), training={"seed": 7})
    checkpoint.save(path, model, described, tokenizer=tokenizer, **rest)
    return model


def plain(path: Path, **rest: Any) -> Model:
    spec = registry.get_model("ar-plain")
    model = registry.build_model(spec, None, {})
    checkpoint.save(path, model, checkpoint.describe(spec, {}, extent=Extent(item=(8, 8))), **rest)
    return model


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def refused(path: Path | str, code: str) -> CheckpointError:
    with pytest.raises(CheckpointError) as refusal:
        checkpoint.load(path)
    assert refusal.value.code == code, refusal.value.line
    return refusal.value


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def reweigh(folder: Path, data: bytes) -> None:
    """Replace the weights and the hash that names them, as a forger would."""
    (folder / "weights.safetensors").write_bytes(data)
    edit(folder, sha256=checkpoint.sha256(data))


def test_a_model_comes_back_whole_with_its_own_tokenizer(plugins: Callable[..., None], tmp_path: Path) -> None:
    plugins()
    model = saved(tmp_path / "run")
    assert sorted(p.relative_to(tmp_path / "run").as_posix() for p in (tmp_path / "run").rglob("*.*")) == [
        "meta.json",
        "tokenizer/meta.json",
        "tokenizer/weights.safetensors",
        "weights.safetensors",
    ]
    names = weights.inspect((tmp_path / "run/weights.safetensors").read_bytes(), "w").slots
    assert not [n for n in names if n.startswith("tokenizer.")], "the tokenizer is stored once"
    loaded, described = checkpoint.open_model(tmp_path / "run")
    assert same(model, loaded) and not loaded.training
    assert loaded.get_buffer("table").tolist() == [0, 0.25, 0.5, 0.75, 1], "buffers that are not stored are built"
    assert described.options == {"width": 5, "shape": [16, 16]} and described.item == (8, 8)
    assert described.training == {"seed": 7} and described.tokenizer is not None and not described.tokenizer.bundled
    assert (described.package, described.version) == ("cmrgz-toy", "1.2.0")


def test_the_bundled_tokenizer_is_referred_to(plugins: Callable[..., None], tmp_path: Path) -> None:
    plugins(bundle=True)
    home = tmp_path / "site/toytok/weights/toy"
    home.parent.mkdir()
    checkpoint.save(home, *trained_tokenizer(), dtype="float16")
    tokenizer = checkpoint.open_tokenizer("toy")
    model = saved(tmp_path / "run", tokenizer)
    assert not (tmp_path / "run/tokenizer").exists()
    loaded, described = checkpoint.open_model(str(tmp_path / "run"))
    assert same(model, loaded) and described.tokenizer is not None and described.tokenizer.bundled

    with torch.no_grad():
        next(tokenizer[0].parameters())[0] += 1
    saved(tmp_path / "changed", tokenizer)
    assert (tmp_path / "changed/tokenizer").is_dir(), "a tokenizer that was trained further is not the bundled one"
    checkpoint.load(tmp_path / "changed")

    checkpoint.save(home, *trained_tokenizer(), overwrite=True)
    assert "pip install cmrgz-toytok==1.2.0" in refused(tmp_path / "run", "hash").line


def test_half_precision_is_loaded_as_float32(plugins: Callable[..., None], tmp_path: Path) -> None:
    plugins()
    model = plain(tmp_path / "half", dtype="float16")
    loaded, described = checkpoint.open_model(tmp_path / "half")
    assert described.dtype == "float16" and {p.dtype for p in loaded.parameters()} == {torch.float32}
    for a, b in zip(model.parameters(), loaded.parameters(), strict=True):
        torch.testing.assert_close(a.half().float(), b, rtol=0, atol=0)


def test_loading_leaves_the_global_random_stream(plugins: Callable[..., None], tmp_path: Path) -> None:
    plugins()
    plain(tmp_path / "run")
    before = torch.get_rng_state()
    checkpoint.load(tmp_path / "run")
    assert torch.equal(before, torch.get_rng_state())


def test_a_folder_is_not_replaced_unasked(plugins: Callable[..., None], tmp_path: Path) -> None:
    plugins()
    plain(tmp_path / "run")
    with pytest.raises(UsageError, match="exists"):
        plain(tmp_path / "run")
    model = plain(tmp_path / "run", overwrite=True)
    assert same(model, checkpoint.load(tmp_path / "run")[0])


def test_not_finite_is_never_written(plugins: Callable[..., None], tmp_path: Path) -> None:
    plugins()
    spec = registry.get_model("ar-plain")
    model = registry.build_model(spec, None, {})
    described = checkpoint.describe(spec, {}, extent=Extent(item=(8, 8)), training={"loss": float("nan")})
    with pytest.raises(CheckpointError, match="JSON"):
        checkpoint.save(tmp_path / "run", model, described)
    with torch.no_grad():
        next(model.parameters())[:] = float("inf")
    with pytest.raises(CheckpointError, match="nonfinite"):
        checkpoint.save(tmp_path / "run", model, dataclasses.replace(described, training={}))
    assert not (tmp_path / "run").exists()


META_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"format": 999}, "version"),
    ({"format": "one"}, "version"),
    ({"format": 0}, "version"),
    ({"format": None}, "version"),
    ({"kind": "sampler"}, "header"),
    ({"kind": "tokenizer"}, "unknown-plugin"),
    ({"name": 3}, "header"),
    ({"name": "os:system"}, "unknown-plugin"),
    ({"name": "../../evil"}, "unknown-plugin"),
    ({"package": "x; rm -rf /"}, "header"),
    ({"package": "other"}, "version-skew"),
    ({"version": "2.0"}, "version-skew"),
    ({"version": "1.3"}, "version-skew"),
    ({"version": "newest"}, "header"),
    ({"protocol": 2}, "version-skew"),
    ({"protocol": True}, "header"),
    ({"options": []}, "header"),
    ({"options": {"widht": 5}}, "config-mismatch"),
    ({"options": {"width": "5"}}, "config-mismatch"),
    ({"options": {"width": 4}}, "unexpected-keys"),
    ({"options": {"width": 2**30}}, "unexpected-keys"),
    ({"item": [8, -1]}, "header"),
    ({"spacing": 0}, "header"),
    ({"spacing": 0.05}, "header"),
    ({"item": [100_000, 100_000]}, "header"),
    ({"axes": ["t", "y", "x"], "item": [65, 8, 8]}, "header"),
    ({"dtype": "float8"}, "header"),
    ({"sha256": "0" * 64}, "hash"),
    ({"sha256": ""}, "header"),
    ({"extra": 1}, "header"),
    ({"tokenizer": {"name": "toy"}}, "header"),
]


@pytest.mark.parametrize(("changes", "code"), META_FAULTS)
def test_a_forged_meta_is_refused(
    plugins: Callable[..., None], tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    plugins()
    plain(tmp_path / "run")
    edit(tmp_path / "run", **changes)
    refused(tmp_path / "run", code)


@pytest.mark.parametrize("version", ["1.2.9", "1.1", "0.3"])
def test_older_and_patch_versions_are_loaded(plugins: Callable[..., None], tmp_path: Path, version: str) -> None:
    plugins()
    plain(tmp_path / "run")
    edit(tmp_path / "run", version=version)
    checkpoint.load(tmp_path / "run")


def test_absent_plugins_are_named_with_their_package(plugins: Callable[..., None], tmp_path: Path) -> None:
    plugins()
    plain(tmp_path / "run")
    edit(tmp_path / "run", name="ar-gone", package="cmrgz-gone", version="2.0")
    assert "pip install cmrgz-gone==2.0" in refused(tmp_path / "run", "unknown-plugin").line


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda state: state | {"net.0.weight": torch.full((3, 3), torch.nan)}, "nonfinite"),
        (lambda state: state | {"net.0.weight": torch.zeros(4, 3)}, "unexpected-keys"),
        (lambda state: state | {"../../evil": torch.zeros(1)}, "unexpected-keys"),
        (lambda state: dict(list(state.items())[1:]), "unexpected-keys"),
        (lambda state: state | {f"x{i}": torch.zeros(1) for i in range(3000)}, "unexpected-keys"),
    ],
)
def test_forged_weights_are_refused(
    plugins: Callable[..., None],
    tmp_path: Path,
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    code: str,
) -> None:
    plugins()
    model = plain(tmp_path / "run")
    reweigh(tmp_path / "run", safetensors.torch.save(change(dict(model.state_dict()))))
    refused(tmp_path / "run", code)


def test_a_giant_of_zeros_is_refused_by_its_header(plugins: Callable[..., None], tmp_path: Path) -> None:
    """A sparse file of a TiB takes no room on the disk; it must take none in memory."""
    plugins()
    plain(tmp_path / "run")
    size = 1 << 40
    header = json.dumps({"net.0.weight": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    with (tmp_path / "run/weights.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    refused(tmp_path / "run", "unexpected-keys")


@pytest.mark.parametrize("grid", [[4, 4], [1_000_000, 1_000_000]])
def test_a_grid_that_is_not_that_of_the_item_is_refused(tiny_checkpoint: Path, tmp_path: Path, grid: list[int]) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "run")
    options = json.loads((tmp_path / "run/meta.json").read_text())["options"]
    edit(tmp_path / "run", options=options | {"grid": grid})
    refused(tmp_path / "run", "config-mismatch")


def test_damage_is_named(plugins: Callable[..., None], tmp_path: Path) -> None:
    plugins()
    saved(tmp_path / "run")
    path = tmp_path / "run/weights.safetensors"
    whole = path.read_bytes()
    for data, code in ((whole[:-8], "truncated"), (whole + b"\0", "trailing-data"), (b"", "empty")):
        path.write_bytes(data)
        refused(tmp_path / "run", code)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(tmp_path / "run", "hash")
    path.unlink()
    refused(tmp_path / "run", "no-checkpoint")
    path.write_bytes(whole)
    (tmp_path / "run/tokenizer/meta.json").unlink()
    refused(tmp_path / "run", "no-checkpoint")
    saved(tmp_path / "other")
    os.rename(tmp_path / "other/tokenizer/meta.json", tmp_path / "run/tokenizer/meta.json")
    refused(tmp_path / "run", "hash")


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"a": 1, "a": 2}', b"\xff", b"{}" + b" " * (1 << 20)])
def test_what_is_no_meta_is_refused(plugins: Callable[..., None], tmp_path: Path, data: bytes) -> None:
    plugins()
    plain(tmp_path / "run")
    (tmp_path / "run/meta.json").write_bytes(data)
    assert refused(tmp_path / "run", "too-large" if len(data) > 1 << 20 else "header" if data != b"{}" else "version")


def test_migrations_are_applied_in_order(
    plugins: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins()
    model = plain(tmp_path / "run")
    renamed = {name.replace("net.", "body."): tensor for name, tensor in model.state_dict().items()}
    reweigh(tmp_path / "run", weights.dump(renamed))
    old = json.loads((tmp_path / "run/meta.json").read_text())
    old["pixel_size"], old["format"] = old.pop("spacing"), meta.FORMAT
    (tmp_path / "run/meta.json").write_text(json.dumps(old))
    written = meta.FORMAT
    monkeypatch.setattr(meta, "FORMAT", written + 2)
    refused(tmp_path / "run", "version")
    steps = (
        Migration("spacing has its word", written, meta=lambda raw: {**raw, "spacing": raw["pixel_size"]}),
        Migration("nets are called nets", written + 1, lambda raw: {k: v for k, v in raw.items() if k != "pixel_size"}),
    )
    monkeypatch.setattr(meta, "MIGRATIONS", steps)
    refused(tmp_path / "run", "unexpected-keys")
    rename = dataclasses.replace(steps[1], rename=lambda name: name.replace("body.", "net."))
    monkeypatch.setattr(meta, "MIGRATIONS", (steps[0], rename))
    assert same(model, checkpoint.load(tmp_path / "run")[0])
    monkeypatch.setattr(meta, "MIGRATIONS", (dataclasses.replace(steps[0], meta=lambda raw: raw["none"]), rename))
    assert "spacing has its word" in refused(tmp_path / "run", "header").line


def test_a_package_was_called_a_distribution(plugins: Callable[..., None], tmp_path: Path) -> None:
    plugins()
    model = saved(tmp_path / "run")
    for path in (tmp_path / "run/meta.json", tmp_path / "run/tokenizer/meta.json"):
        raw = json.loads(path.read_text())
        parts = [raw] if raw["tokenizer"] is None else [raw, raw["tokenizer"]]
        for part in parts:
            part["distribution"] = part.pop("package")
        path.write_text(json.dumps(raw | {"format": 3}))
    again, found = checkpoint.load(tmp_path / "run")
    assert same(model, again) and found.tokenizer is not None
    assert (found.package, found.tokenizer.package) == ("cmrgz-toy", "cmrgz-toytok")


def test_targets_are_names_or_folders(plugins: Callable[..., None], tmp_path: Path, monkeypatch: Any) -> None:
    plugins()
    with pytest.raises(CheckpointError, match="without weights.*cmrgz train ar-toy") as missing:
        checkpoint.open_model("ar-toy")
    assert missing.value.code == "no-checkpoint"
    with pytest.raises(UsageError, match="neither a registered model nor a checkpoint folder.*did you mean 'ar-toy'"):
        checkpoint.open_model("ar-toi")
    checkpoint.save(tmp_path / "tok", *trained_tokenizer())
    with pytest.raises(CheckpointError, match="expected a model, got the tokenizer 'toy'"):
        checkpoint.open_model(tmp_path / "tok")
    plain(tmp_path / "run")
    with pytest.raises(CheckpointError, match="expected a tokenizer, got the model 'ar-plain'"):
        checkpoint.open_tokenizer(tmp_path / "run")
    refused(tmp_path, "no-checkpoint")
    (tmp_path / "old.pt").write_bytes(b"\x80\x04N.")
    for target, code in ((tmp_path / "old.pt", "unsafe-pickle"), (tmp_path / "run/weights.safetensors", "path")):
        with pytest.raises(CheckpointError) as refusal:
            checkpoint.open_model(target)
        assert refusal.value.code == code


def test_weights_that_a_package_promises_must_be_there(plugins: Callable[..., None]) -> None:
    plugins(bundle=True)
    with pytest.raises(PluginError, match="has no weights at toytok:weights/toy"):
        checkpoint.open_tokenizer("toy")


def test_loading_runs_and_imports_nothing(plugins: Callable[..., None], tmp_path: Path) -> None:
    plugins()
    saved(tmp_path / "run")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path / "site")!r})
from cmrgz import checkpoint
import toymodel.net, toytok.net
checkpoint.load({str(tmp_path / "run")!r})
banned = ("exec", "import", "os.system", "subprocess.Popen", "socket.connect", "os.posix_spawn", "os.exec")
seen = []
sys.addaudithook(lambda event, args: seen.append((event, str(args)[:200])) if event in banned else None)
checkpoint.load({str(tmp_path / "run")!r})
assert not seen, seen
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.mark.parametrize("name", sorted(n for n, e in registry.tokenizers().items() if e.spec and e.spec.checkpoint))
def test_bundled_tokenizers_open(name: str) -> None:
    tokenizer, described = checkpoint.open_tokenizer(name)
    assert described.name == name and tokenizer.patch > 0


@pytest.mark.parametrize("name", sorted(n for n, e in registry.models().items() if e.spec and e.spec.checkpoint))
def test_bundled_models_open(name: str) -> None:
    spec = registry.get_model(name)
    model, described = checkpoint.open_model(name)
    assert (described.name, described.item, described.spacing) == (name, spec.item, spec.spacing)
    assert registry.sample_schema(model)
