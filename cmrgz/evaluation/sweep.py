"""The sweep: cells that are not done are computed and stored, one unit after another."""

import itertools
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path
from typing import Any

from cmrgz import __version__, registry
from cmrgz.durable import atomic_write
from cmrgz.durable.arrays import pack
from cmrgz.errors import CheckpointError, CmrgzError, PartialError, ResourceError, Stopped
from cmrgz.evaluation.cells import Grid, Unit
from cmrgz.evaluation.competitors import Method, ModelMethod, Probe
from cmrgz.evaluation.frames import Frame
from cmrgz.evaluation.lineup import Advance, Lineup, assemble, choose_models, write_sources
from cmrgz.evaluation.options import SweepOptions, is_mask_file
from cmrgz.evaluation.references import real
from cmrgz.evaluation.scoring import FORMAT, Scorer
from cmrgz.evaluation.store import SETTINGS, Line, Store
from cmrgz.footprint import most_bytes
from cmrgz.plugin import Progress
from cmrgz.signals import stop_on_signals

ATTEMPTS = 3
"""A unit that failed this often is left alone."""
PATHS = ("data", "bank", "models", "extractors")
"""Options that may hold paths."""
SHOWN = 4
"""Frames whose pictures are kept: the first in the order of their ids, never chosen by hand."""
WHOLE = "patch:0"
"""The mask of real frames: nothing is hidden."""

Computed = tuple[dict[str, Any], dict[str, float]]
Compute = Callable[[Iterable[Unit]], Iterator[tuple[Unit, Computed | CmrgzError]]]
"""From units to what came of each, in any order."""


@dataclass(frozen=True)
class Sweep:
    """A sweep that is ready to run.

    Attributes:
        batch: Items a network call takes on the device.
    """

    options: SweepOptions
    lineup: Lineup
    scorer: Scorer
    batch: int = 16
    device: str = "cpu"

    @property
    def masks(self) -> list[str]:
        """What is hidden: patterns as their canonical texts, files by what they hold."""
        return [*(mask.spec for mask in self.options.masks()), *self.lineup.files]

    @property
    def grid(self) -> Grid:
        """The cells of the methods."""
        return self._of(self.lineup.frames, self.lineup.methods, self.masks)

    @property
    def grids(self) -> list[Grid]:
        """All cells, the cheapest first: of real frames, to evaluate on and to learn from, of methods, of probes."""
        sets = (("real", self.lineup.frames), ("bank", self.lineup.bank))
        reals = [Grid(self.scorer.revision, frames, [real(name)], [WHOLE], [0], 1) for name, frames in sets if frames]
        shares = [(mask.ratio, mask.spec) for mask in self.options.masks() if mask.ratio is not None and mask.ratio < 1]
        if not (self.options.probe and shares and self.lineup.bank):
            return [*reals, self.grid]
        models = [Probe(method) for method in self.lineup.methods if isinstance(method, ModelMethod)]
        # Where little is known, memory alone brings a hole back; as many frames as are held out, for a fair comparison.
        (_, mask), frames = max(shares, key=itemgetter(0)), self.lineup.bank[: len(self.lineup.frames)]
        return [*reals, self.grid, self._of(frames, models, [mask])]

    def _of(self, frames: Sequence[Frame], methods: Sequence[Method], masks: Sequence[str]) -> Grid:
        options = self.options
        return Grid(self.scorer.revision, frames, methods, masks, options.seeds, options.samples, self.batch)

    def __len__(self) -> int:
        """Return the number of cells."""
        return sum(map(len, self.grids))

    def units(self, done: set[str]) -> Iterator[Unit]:
        """Yield what is to do."""
        return itertools.chain.from_iterable(grid.units(done) for grid in self.grids)


def prepare(
    options: SweepOptions, device: str = "cpu", batch_size: int | None = None, advance: Advance | None = None
) -> Sweep:
    """Return a sweep that is ready to run; models are loaded when they are first needed.

    At most `batch_size` items are in flight on the device; `advance` is told the built-in subjects rendered.

    Raises:
        UsageError: A model or an option is unknown.
        DataError: A scan is missing or damaged; a patient is in test and training data.
        CheckpointError: A checkpoint is missing or damaged.
    """
    from cmrgz.calls import COMPUTE_BATCH

    # Before the data: a name that is wrong is told at once, and not after a hundred scans were read.
    models = choose_models(options, device, batch_size)
    lineup = assemble(options, models, advance)
    scorer = Scorer.open(device, options.extractors)
    scorer.shown = shown(lineup, options.frames == "cine")
    batch = COMPUTE_BATCH.get(device.partition(":")[0], COMPUTE_BATCH["cpu"])
    return Sweep(options, lineup, scorer, batch, device)


def shown(lineup: Lineup, cine: bool) -> frozenset[str]:
    """Return the ids of the frames whose pictures are kept: all of a cine, for its motion."""
    ids = sorted(frame.id for frame in lineup.frames)
    return frozenset(ids if cine else ids[:SHOWN])


def run(sweep: Sweep, root: Path, compute: Compute | None = None, report: Progress | None = None) -> int:
    """Compute the cells that are not done, and return how many that were.

    A folder of a run that is there is continued or extended. `compute` computes units elsewhere; here and one after
    another by default. `report` is told the cells done.

    Raises:
        PartialError: Some units failed; the others are done.
        Stopped: On request; what is done is stored.
        CheckpointError: The journal is damaged; `changed`: the run has other results under one of the names.
        ResourceError: `locked`: another process computes here; the disk is full or may not be written.
    """
    with Store(root) as store, stop_on_signals() as stop:
        # Written anew each time: an extended run is described, and verified, as it was last asked for.
        atomic_write(root / SETTINGS, json.dumps(settings(sweep), indent=1).encode(), overwrite=True)
        write_sources(root, sweep.options)
        check_same(store.lines, sweep)
        pending = list(sweep.units(store.done()))
        failures, total, failed = store.failures(), len(sweep), 0
        todo = [unit for unit in pending if failures.get(unit.id, 0) < ATTEMPTS]
        before = made = total - sum(len(unit.cells) for unit in pending)
        if report is not None:
            report(made, total)
        for unit, result in (compute or local(sweep.scorer))(todo):
            facts = {"revision": sweep.scorer.revision, **unit_facts(unit)}
            if isinstance(result, ResourceError):
                raise result  # a full disk or memory is no fault of the unit, and the next one would meet it too
            if isinstance(result, CmrgzError):
                store.fail(unit.id, {"reason": result.line, **facts})
                failed += len(unit.cells)
            else:
                arrays, cost = result
                store.put(unit.id, tuple(unit.cells), pack(arrays), {**facts, **cost})
                made += len(unit.cells)
            if report is not None:
                report(made + failed, total)
            if stop.asked:
                hint = "the same command goes on"
                raise Stopped("stopped", str(root), f"{made} of {total} cells are done", hint=hint)
        if made < total:
            what = f"{total - made} of {total} cells failed"
            raise PartialError("partial", str(root), what, hint="the reasons are in the report")
    return made - before


def check_same(lines: Iterable[Line], sweep: Sweep) -> None:
    """Refuse to mix results: a name stands for one thing in a run.

    Raises:
        CheckpointError: `changed`: a method of that name had other weights, options, training frames or samples.
    """
    # Names stand in tables and pair results: two fingerprints under one name would be averaged as one method.
    now = {m.name: (m.key, sweep.options.samples if m.random else 1) for m in sweep.lineup.methods}
    for line in lines:
        name, before = line.facts["method"], (line.facts["fingerprint"], line.facts["samples"])
        if line.cells and line.facts.get("revision") == sweep.scorer.revision and now.get(name, before) != before:
            what = f"'{name}' has other weights, training frames or samples than in this run"
            raise CheckpointError("changed", line.unit, what, hint="use another folder with -o")


def local(scorer: Scorer) -> Compute:
    """Return what computes units in this process, one after another, one model in memory at a time."""

    def compute(units: Iterable[Unit]) -> Iterator[tuple[Unit, Computed | CmrgzError]]:
        method: Method | None = None
        for unit in units:  # which come method by method
            fresh = unit.method is not method  # and so tested for leaks: once for each method, not for each unit
            if fresh and method is not None:
                method.close()
            method = unit.method
            yield unit, attempt(scorer, unit, leak=fresh)

    return compute


def attempt(scorer: Scorer, unit: Unit, leak: bool) -> Computed | CmrgzError:
    """Compute a unit, or say why it failed."""
    start = time.perf_counter()
    try:
        arrays, cost = scorer.run(unit, leak)
    except CmrgzError as error:
        return error
    took = time.perf_counter() - start
    return arrays, {**cost, "unit_seconds": took, "memory_mb": memory_mb(), "leak_tested": float(leak)}


def memory_mb() -> float:
    """Return the most memory that this process has held, on the GPU if it has used one; NaN where that is not told."""
    torch = sys.modules.get("torch")  # where nothing imported it, it holds nothing
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return float(torch.cuda.max_memory_allocated() / 2**20)
    most = most_bytes()
    return math.nan if most is None else most / 2**20


def unit_facts(unit: Unit) -> dict[str, Any]:
    """Return what the journal says of a unit beside its cells."""
    method = unit.method
    return {
        "format": FORMAT,
        "method": method.name,
        "kind": method.kind,
        "family": method.family,
        "tokenizer": method.tokenizer,
        "seen": None if method.trained_on is None else sum(f.subject in method.trained_on for f in unit.frames),
        "fingerprint": method.key,
        "mask": unit.mask,
        "seed": unit.seed,
        "samples": unit.samples,
    }


def settings(sweep: Sweep) -> dict[str, Any]:
    """Return what `sweep.json` says: all that it takes to run the sweep again."""
    options = asdict(sweep.options)
    told = {name: value for name, value in options.items() if name not in PATHS}  # no path of an input is ever stored
    models = [m.name for m in sweep.lineup.methods if m.kind == "model"]
    metas = [method.chosen.meta for method in sweep.lineup.methods if isinstance(method, ModelMethod)]
    used = {meta.qualified for meta in metas} | {meta.tokenizer.qualified for meta in metas if meta.tokenizer}
    patterns = [p for p in sweep.options.patterns if not is_mask_file(p)] + list(sweep.lineup.files)
    methods = [{"name": m.name, "kind": m.kind, "family": m.family, **m.fingerprint} for m in sweep.lineup.methods]
    return {
        "options": {**told, "patterns": patterns, "models": models, "extractors": sorted(sweep.scorer.extractors)},
        "cmrgz": __version__,
        "torch": version("torch"),
        "python": platform.python_version(),
        "device": sweep.device,
        "revision": sweep.scorer.revision,
        "frames": len(sweep.lineup.frames),
        "subjects": len({frame.subject for frame in sweep.lineup.frames}),
        "bank": len(sweep.lineup.bank),
        "methods": methods,
        "plugins": registry.describe_plugins(used),
    }
