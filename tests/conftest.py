"""Synthetic plugins, found as installed ones are, and the collection of bad inputs where it is at hand."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any

import pytest

from cmrgz import registry
from cmrgz.durable import files, folders, journal, system
from cmrgz.errors import CmrgzError

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
    checkpoint.save(folder, model, facts, tokenizer=checkpoint.Opened(tokenizer, meta))
    return folder


@pytest.fixture(scope="session")
def noise_scans(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return `write(names, shape (t, z, y, x))` -> a new folder of scans of noise, each another."""
    import numpy as np

    from cmrgz.data.scan import Scan, save

    def write(names: str, shape: tuple[int, int, int, int], step: float = 10.0) -> Path:
        folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
        for name in names:
            voxels = rng.integers(0, 500, shape).astype(np.int16)
            save(folder / f"{name}.nii.gz", Scan.blank(shape, (step, 1.4, 1.4), 0.05), voxels)
        return folder

    return write


@pytest.fixture(scope="session")
def small_plan(noise_scans: Callable[..., Path]) -> Callable[..., Any]:
    """Return `make(output, options, shape)` -> the plan of the smallest tokenizer, trained on two scans of noise."""
    from cmrgz.training.plan import Plan

    build = {"vocab": 4, "levels": 2, "width": 8, "fine_width": 4, "blocks": 1, "lloyd": 1}
    data = cache(lambda shape: noise_scans("ab", shape))

    def make(output: Path, options: Any, shape: tuple[int, int, int, int] = (2, 1, 128, 128)) -> Plan:
        return Plan(name="vq", output=output, data=[str(data(shape))], build=build, train=options)

    return make


@pytest.fixture
def command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command line in a working directory of its own: (exit code, stdout, stderr)."""
    from cmrgz.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CMRGZ_DEVICE", "cpu")
    for name in ("CMRGZ_MODEL", "CMRGZ_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)

    def call(*args: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(a) for a in args])
        told = capfd.readouterr()
        return code, told.out, told.err

    return call


@pytest.fixture
def run(
    tiny_checkpoint: Path, command_line: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command line, with the tiny checkpoint as the model."""
    monkeypatch.setenv("CMRGZ_MODEL", str(tiny_checkpoint))
    return command_line


class Deaths:
    """Runs work in a child that dies: before durable operation `n`, half way in its write, or after some seconds."""

    def operations(self, work: Callable[[], object]) -> int:
        """Return how many durable operations work takes."""
        reader, writer = os.pipe()
        assert self._ended(lambda faults: (work(), os.write(writer, str(faults.count).encode()))) == 0
        os.close(writer)
        with open(reader) as told:
            return int(told.read())

    def at(self, work: Callable[[], object], point: str) -> bool:
        """Run work that dies at `n` or `n:half`; return whether it died."""
        status = self._ended(lambda faults: work(), point)
        assert status in (0, -signal.SIGKILL)
        return status != 0

    def after(self, work: Callable[[], object], seconds: float) -> bool:
        """Run work that is killed after some seconds; return whether it died."""
        child = self._start(lambda faults: work())
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -signal.SIGKILL)
        return status != 0

    def _ended(self, work: Callable[[Any], object], point: str = "") -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self._start(work, point), 0)[1])

    def _start(self, work: Callable[[Any], object], point: str = "") -> int:
        child = os.fork()
        if child:
            return child
        faults = system.Faults(kill=point)
        for module in (files, folders, journal):
            module.system = faults
        try:
            work(faults)
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
        os._exit(0)


@pytest.fixture(scope="session")
def deaths() -> Deaths:
    """Return what lets work die at any moment."""
    return Deaths()


DEEP = b"[" * 1000 + b"]" * 1000
ODD = [
    b"null", b"true", b"-1", b"0", b"5", b"0.5", b"1e999", b"NaN", b"1" + b"0" * 400, b'""', b'"x"', b'"../../x"',
    b'"\\ud800"', b'"' + b"a" * 9999 + b'"', b"[]", b"{}", b"[[]]", b'["x", 1]', b'{"a": null}', DEEP, b"\xff",
]  # fmt: skip
"""Values that a field has not, as they stand in a file."""
HOLE = "a hole"


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (owner, key) of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from places(inner)


def changed(text: bytes, rng: random.Random) -> bytes:
    """Return JSON of which a value is another, is missing or is too many."""
    value = json.loads(text)
    owner, key = rng.choice(list(places(value)))
    act = rng.choice(["put", "put", "put", "drop", "add", "swap"])
    if act == "drop":
        del owner[key]
    elif act == "swap":
        other, there = rng.choice(list(places(value)))
        owner[key] = json.loads(json.dumps(other[there]))
    else:
        owner[key if act == "put" or isinstance(owner, list) else "odd"] = HOLE
    return json.dumps(value).encode().replace(json.dumps(HOLE).encode(), rng.choice(ODD))


def broken(data: bytes, rng: random.Random) -> bytes:
    """Return data that was cut, flipped, blanked, or is none of it."""
    at, length = rng.randrange(len(data)), rng.choice([1, 2, 8, 500])
    middle = rng.choice([b"", bytes(length), rng.randbytes(length), data[at : at + length] * 2])
    return rng.choice([data[:at], data[:at] + middle + data[at + length :], *ODD, b"", b"[]", b'"x"'])


def in_line(line: bytes, rng: random.Random) -> bytes:
    """Return a line of JSON, or of a journal, whose record is another; its checksum is right."""
    if not line.startswith(b'{"crc":"'):
        return changed(line, rng) + b"\n"
    body = changed(b"{" + line.rstrip(b"\n")[len(b'{"crc":"00000000",') :], rng)
    return b'{"crc":"%08x",%s\n' % (zlib.crc32(body), body[1:])


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return what a file of JSON, of lines of JSON or a journal might be found as."""
    if rng.random() < 0.3 or not data.startswith(b"{"):
        return broken(data, rng)
    lines = data.splitlines(keepends=True)
    if lines[0].strip() == b"{":
        return changed(data, rng)
    at = rng.randrange(len(lines))
    return b"".join([*lines[:at], in_line(lines[at], rng), *lines[at + 1 :]])


def damage_often(path: Path, use: Callable[[], object], number: int, codes: tuple[int, ...] = (4,)) -> None:
    """Damage a file again and again, and use it: all is well or there is one line with one of the codes."""
    whole, rng, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(number):
        path.write_bytes(damaged(whole, rng))
        try:
            use()
        except CmrgzError as error:
            assert error.exit_code in codes, error.line
            assert "\n" not in error.line
            refused += 1
        except Exception as error:
            raise AssertionError(f"{path.name}: {path.read_bytes()[:2000]!r}") from error
    assert refused > number / 4
    path.write_bytes(whole)


@pytest.fixture(scope="session")
def fuzz() -> Callable[..., None]:
    """Return `fuzz(path, use, number, codes)`, see `damage_often`."""
    return damage_often


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
