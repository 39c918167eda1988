"""Load every plugin in a process of its own, so that one that hangs or kills its process harms no other.

Run as a program it loads and builds one plugin, and prints what it found as one line of JSON.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from cmrgz import registry

GROUPS = {registry.MODELS: "model", registry.TOKENIZERS: "tokenizer"}
TIME_LIMIT = 60.0
"""Seconds that a plugin may take to be loaded and built."""


@dataclass(frozen=True)
class Found:
    """A registered name, from the metadata of its package alone; nothing of it is imported.

    Attributes:
        name: Registered name.
        kind: `model` or `tokenizer`.
        package: Package that registers it.
        version: Version of that package.
        target: `module:attribute` of the spec.
        allowed: Whether `CMRGZ_PLUGINS` has it.
        rivals: Other allowed packages that register the same name, which then selects none of them.
    """

    name: str
    kind: str
    package: str
    version: str
    target: str
    allowed: bool
    rivals: tuple[str, ...] = ()

    @property
    def qualified(self) -> str:
        """`package:name`, which selects it whatever else is installed."""
        return f"{self.package}:{self.name}"

    @property
    def note(self) -> str:
        """What to know before using it, or ""."""
        if not self.allowed:
            return "left out by CMRGZ_PLUGINS"
        return f"also registered by {' and by '.join(self.rivals)}: write {self.qualified}" if self.rivals else ""


@dataclass(frozen=True)
class Diagnosis:
    """What came of loading a plugin.

    Attributes:
        plugin: Which.
        status: `ok`, `clashes` (well, but its name is taken twice), `broken` (it raised or breaks the protocol),
            `crashed` (it ended its process) or `hangs`.
        reason: In one line.
        seconds: How long it took.
    """

    plugin: Found
    status: str
    reason: str
    seconds: float

    @property
    def facts(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        return {**asdict(self.plugin), "status": self.status, "reason": self.reason, "seconds": self.seconds}


def listed() -> list[Found]:
    """Return all registered names, sorted; those that `CMRGZ_PLUGINS` leaves out as not allowed."""
    found = [_found(point, kind) for group, kind in GROUPS.items() for point in entry_points(group=group)]
    names = Counter((plugin.kind, plugin.name) for plugin in found if plugin.allowed)
    with_rivals = [_with_rivals(p, found) if p.allowed and names[p.kind, p.name] > 1 else p for p in found]
    return sorted(with_rivals, key=lambda plugin: (plugin.kind, plugin.name, plugin.package))


def _found(point: EntryPoint, kind: str) -> Found:
    allowed = registry.is_allowed(point, os.environ.get("CMRGZ_PLUGINS"))
    return Found(point.name, kind, *registry.owner(point), point.value, allowed)


def _with_rivals(plugin: Found, found: list[Found]) -> Found:
    same = [p for p in found if (p.kind, p.name, p.allowed) == (plugin.kind, plugin.name, True) and p != plugin]
    return replace(plugin, rivals=tuple(f"{p.package} {p.version}" for p in same))


def diagnose(names: Collection[str] | None = None, limit: float = TIME_LIMIT) -> Iterator[Diagnosis]:
    """Yield the diagnosis of every allowed plugin, or of those in `names`, be it as `package:name`."""
    for plugin in listed():
        if plugin.allowed and (names is None or {plugin.name, plugin.qualified} & set(names)):
            diagnosis = _diagnosed(plugin, limit)
            clashes = plugin.rivals and diagnosis.status == "ok"
            yield replace(diagnosis, status="clashes", reason=plugin.note) if clashes else diagnosis


def _diagnosed(plugin: Found, limit: float) -> Diagnosis:
    command = [sys.executable, "-m", "cmrgz.authoring.doctor", plugin.kind, plugin.qualified]
    # The new process must find what this one finds, however its path was made.
    paths = os.pathsep.join(filter(None, sys.path))
    # Of this plugin alone: what another one does when it is imported is not its fault.
    environment = {**os.environ, "PYTHONPATH": paths, "CMRGZ_PLUGINS": plugin.qualified}
    start = time.perf_counter()
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return Diagnosis(plugin, "hangs", f"did not load within {limit:.0f} s", round(time.perf_counter() - start, 2))
    seconds = round(time.perf_counter() - start, 2)
    # The exit code tells nothing: a plugin may end its process with 0.
    answer = _answer(done.stdout)
    if answer is None:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1][:120]
        return Diagnosis(plugin, "crashed", f"ended its process with code {done.returncode}: {last}", seconds)
    return Diagnosis(plugin, answer["status"], answer["reason"], seconds)


def _answer(stdout: str) -> dict[str, str] | None:
    """Return the program's own last line; a plugin may print before it."""
    for line in reversed(stdout.splitlines()):
        if line.startswith('{"doctor"'):
            answer: dict[str, str] = json.loads(line)["doctor"]
            return answer
    return None


def _examine(kind: str, name: str) -> None:
    """Load and build one plugin, `package:name`, with the tokenizer that it names."""
    spec = registry.get_tokenizer(name) if kind == "tokenizer" else registry.get_model(name)
    from cmrgz.testing.subject import Subject, build_tokenizer  # imports torch: not for one that has no spec

    if spec.kind == "tokenizer":
        build_tokenizer(spec)
        return
    # Only now that it has been loaded by itself: a model is built on its tokenizer, which may be of another package.
    os.environ["CMRGZ_PLUGINS"] = f"{name},{spec.tokenizer}"
    Subject.of(name).fresh()


def main(kind: str, name: str) -> None:
    """Print the diagnosis of one plugin."""
    from cmrgz.errors import CmrgzError

    answer = {"status": "ok", "reason": ""}
    try:
        _examine(kind, name)
    except CmrgzError as error:
        answer = {"status": "broken", "reason": f"{error.code}: {error.what}"}
    except BaseException as error:  # whatever a plugin raises is its diagnosis
        answer = {"status": "broken", "reason": f"{type(error).__name__}: {error}"[:200]}
    sys.stdout.write(json.dumps({"doctor": answer}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
