"""Checks of a model's spec, options, checkpoint and manners."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NoReturn

import torch

from cmrgz import checkpoint, options, registry
from cmrgz.errors import UsageError
from cmrgz.model import Model
from cmrgz.testing.subject import Subject, streams


def spec_needs_no_torch(subject: Subject) -> None:
    """Listing the model imports neither torch nor numpy, and says something of it."""
    target = registry.find_entry(subject.spec).target
    module = target.partition(":")[0]
    code = f"import sys, {module}; print(*({{'torch', 'numpy', 'diffusers'}} & sys.modules.keys()))"
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=paths, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stdout.strip(), f"{module} imports {done.stdout.strip() or done.stderr}"
    assert 10 <= len(subject.spec.summary) <= 100, "the summary is one line"


def options_are_described(subject: Subject) -> None:
    """Every option of the builder and of `sample` has a help text, and a default that it would accept."""
    for schema in (registry.build_schema(subject.spec), registry.sample_schema(subject.spec)):
        for option in schema.values():
            assert option.help, f"'{option.name}' has no help"
            options.parse({option.name: option.default}, schema, option.name)


def undeclared_options_are_refused(subject: Subject) -> None:
    """An unknown option of the architecture or of the sampling is an error."""
    for schema in (registry.build_schema(subject.spec), registry.sample_schema(subject.spec)):
        try:
            options.parse({"no_such_option": 1}, schema, "check")
        except UsageError:
            continue
        raise AssertionError("an unknown option is accepted")


def checkpoint_draws_the_same(subject: Subject) -> None:
    """Saved and loaded, with nothing pickled, the model draws the same bits."""
    x, known = subject.items()[:2], subject.known_part()[:2]
    given = torch.where(known, x, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        subject.save(Path(folder) / "saved")
        files = {path.name for path in Path(folder).rglob("*") if path.is_file()}
        assert files <= {"meta.json", "weights.safetensors"}, f"wrote {files}"
        loaded, _ = checkpoint.open_model(Path(folder) / "saved")
    with torch.inference_mode():
        again = loaded.sample(given, known, rng=streams(2), **subject.options)
    assert torch.equal(again, subject.draw(given, known)), "the loaded model draws something else"
    assert isinstance(loaded, Model)


def quiet_and_tidy(subject: Subject) -> None:
    """A draw prints nothing, writes no file into the working directory and opens no connection."""
    x, known = subject.items()[:2], subject.known_part()[:2]
    out = StringIO()
    with tempfile.TemporaryDirectory() as folder, _inside(folder), _no_network():
        with redirect_stdout(out), redirect_stderr(out):
            subject.draw(torch.where(known, x, 0.0), known)
        written = os.listdir(folder)
    assert not out.getvalue(), f"prints {out.getvalue()[:60]!r}"
    assert not written, f"writes {written}"


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _no_network() -> Iterator[None]:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("opens a connection")

    original = socket.socket.connect
    socket.socket.connect = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        socket.socket.connect = original  # type: ignore[method-assign]
