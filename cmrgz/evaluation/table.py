"""The table: all cells of a run, read from its journal and files alone; no model, no data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.masks import parse
from cmrgz.durable.arrays import array_names
from cmrgz.errors import CheckpointError, UsageError
from cmrgz.evaluation.crops import is_file
from cmrgz.evaluation.metrics import FRAME_METRICS, RATIOS
from cmrgz.evaluation.scoring import FORMAT
from cmrgz.evaluation.store import JOURNAL, Line, not_ours, read_lines, read_results, result_bytes, results

PLACES = ("frame", "subject", "scan", "role", "t", "z", "spacing", "step")
CHECKS = ("hidden", "known_sha1", "low", "high", "exact")
TEXTS = ("frame", "subject", "scan", "role", "known_sha1")
TYPES = dict.fromkeys((*PLACES, *CHECKS), "iuf") | dict.fromkeys(TEXTS, "U") | {"exact": "b"}
"""Kinds of numpy's types that the columns of a file of results may have."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MethodInfo:
    """What the journal says of a method.

    Attributes:
        name: As it stands in tables.
        kind: `model`, `baseline`, `bound`, `control` or `real`.
        family: Of a model: `ar`, `ldm`, ...
        samples: Draws of each frame.
        tokenizer: Name of a model's tokenizer, or "".
    """

    name: str
    kind: str
    family: str
    samples: int
    tokenizer: str = ""


@dataclass(frozen=True)
class MaskInfo:
    """What a mask is called in figures.

    Attributes:
        spec: Its canonical text.
        pattern: The pattern with its options, without the ratio; all of its text where it has none.
        ratio: Share hidden; NaN for a pattern that has none.
    """

    spec: str
    pattern: str
    ratio: float

    @classmethod
    def of(cls, spec: str) -> "MaskInfo":
        """Return what a mask's text says."""
        mask = None if is_file(spec) else parse(spec)
        if mask is None or mask.ratio is None:
            return cls(spec, spec, math.nan)
        options = ",".join(f"{name}={value}" for name, value in mask.options)
        return cls(spec, f"{mask.pattern}:{options}" if options else mask.pattern, mask.ratio)


@dataclass(frozen=True, eq=False)
class Table:
    """All cells of a run, a row each.

    Attributes:
        root: Folder of the run.
        methods: By name, in the order of the journal.
        masks: By their texts, by pattern and then by ratio; not that of the real frames.
        columns: Text and number columns (n,): `method`, `mask`, `seed`, `PLACES`, `CHECKS`.
        metrics: (n,) each, NaN where not defined, by name.
        lines: Units that are done.
        failures: Facts of units that failed and were not done later.
        where: Place (unit, row) of each row (n, 2).
    """

    root: Path
    methods: Mapping[str, MethodInfo]
    masks: Mapping[str, MaskInfo]
    columns: Mapping[str, NDArray[Any]]
    metrics: Mapping[str, Floats]
    lines: tuple[Line, ...]
    failures: tuple[Mapping[str, Any], ...]
    where: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.where)

    @classmethod
    def read(cls, root: Path) -> "Table":
        """Read a run that may still be going on.

        Raises:
            CheckpointError: `log-corrupt`, `hash`, `syntax` or `not-found`; `nondeterministic`: a cell was done twice,
                and differently; `empty`: no cell is done.
        """
        every = read_lines(root)
        kept = _once(root, every)
        if not kept:
            what = "holds no finished cell of this version"
            raise CheckpointError("empty", str(root), what, hint="run the sweep again")
        where = np.array([(unit, row) for unit, line in enumerate(kept) for row in range(len(line.cells))])
        ends = np.cumsum([len(line.cells) for line in kept])
        parts: list[dict[str, NDArray[Any]]] = []
        metrics: dict[str, Floats] = {}
        # One file at a time: the features and pictures of all would not fit in memory; who wants them reads them again.
        for unit, (line, arrays) in enumerate(results(root, kept)):
            if not _fits(line, arrays):
                raise not_ours(root, line)
            told = {name: np.repeat(line.facts[name], len(line.cells)) for name in ("method", "mask", "seed")}
            parts.append(told | {name: arrays[name] for name in (*PLACES, *CHECKS)})
            rows = slice(ends[unit] - len(line.cells), ends[unit])
            for name, values in zip(arrays["names"].tolist(), arrays["metrics"].T, strict=True):
                metrics.setdefault(name, np.full(len(where), math.nan))[rows] = values
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return cls(root, _methods(kept), _masks(root, kept), columns, metrics, tuple(kept), _failures(every), where)

    def rows(self, method: str, mask: str | None = None) -> NDArray[np.int64]:
        """Return the rows of a method, all its masks unless one is named."""
        chosen = self.columns["method"] == method
        if mask is not None:
            chosen &= self.columns["mask"] == mask
        return np.flatnonzero(chosen)

    def by_subject(self, metric: str, method: str, mask: str) -> dict[str, float]:
        """Return a metric of each patient: frames first, then seeds, are averaged; those without a value are left out.

        A ratio (`RATIOS`) is that of the patient's means.
        """
        # Of means, not the mean of ratios: the denominator of a single frame may be next to nothing.
        if metric in RATIOS:
            over, under = (self.by_subject(name, method, mask) for name in (RATIOS[metric].over, RATIOS[metric].under))
            return {subject: over[subject] / under[subject] for subject in over if under.get(subject)}
        if metric not in self.metrics:
            return {}
        rows = self.rows(method, mask)
        values, subjects = self.metrics[metric][rows], self.columns["subject"][rows]
        good = ~np.isnan(values)  # what is not defined counts nowhere, rather than as the worst or the best
        return {str(s): float(values[good & (subjects == s)].mean()) for s in np.unique(subjects[good])}

    def arrays(self, rows: NDArray[np.int64], name: str) -> NDArray[Any]:
        """Return an array of the result files, a row each; read from the files, which may take a while.

        Raises:
            CheckpointError: As `read_results`.
            KeyError: The files have no such array.
        """
        parts: dict[int, NDArray[Any]] = {}
        for unit in np.unique(self.where[rows, 0]):
            parts[int(unit)] = read_results(self.root, self.lines[unit], [name])[name]
        return np.stack([parts[int(unit)][row] for unit, row in self.where[rows]])

    def array_names(self, row: int) -> list[str]:
        """Return the names of the arrays that the file of a row has."""
        return array_names(result_bytes(self.root, self.lines[self.where[row, 0]]))

    def cost(self, method: str) -> dict[str, float]:
        """Return `seconds` and network `calls` a draw (means over units) and the most `memory_mb`."""
        own = [f for f in (line.facts for line in self.lines) if f["method"] == method]
        means = {name: float(np.mean([f.get(name, math.nan) for f in own])) for name in ("seconds", "calls")}
        return means | {"memory_mb": float(np.max([f.get("memory_mb", math.nan) for f in own]))}

    def pictures(self, method: str, mask: str) -> dict[str, NDArray[np.uint8]]:
        """Return the pictures (6, h, w) of a method by frame id; see `scoring.PICTURES`."""
        found: dict[str, NDArray[np.uint8]] = {}
        for unit in np.unique(self.where[self.rows(method, mask), 0]):
            arrays = read_results(self.root, self.lines[unit], ("pictures", "picture_rows", "frame"))
            for picture, row in zip(arrays["pictures"], arrays["picture_rows"], strict=True):
                found.setdefault(str(arrays["frame"][row]), picture)
        return found

    @cached_property
    def subjects(self) -> list[str]:
        """The patients that were evaluated on."""
        return sorted(np.unique(self.columns["subject"][self.rows("real")]).tolist())

    @property
    def metric_names(self) -> list[str]:
        """Metrics of frames that some cell has, those made of several cells, then ratios of them."""
        own = [name for name in FRAME_METRICS if name in self.metrics]
        own += [name for name in self.metrics if name not in FRAME_METRICS]
        return [*own, *(name for name, ratio in RATIOS.items() if {ratio.over, ratio.under} <= set(own))]


def _fits(line: Line, arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Whether a file of results has a row for each cell of its line."""
    if not arrays.keys() >= {*PLACES, *CHECKS, "names", "metrics"}:
        return False
    shape = (len(line.cells),)
    plain = all(arrays[name].shape == shape and arrays[name].dtype.kind in TYPES[name] for name in TYPES)
    metrics, names = arrays["metrics"], arrays["names"]
    return plain and names.dtype.kind == "U" and metrics.dtype.kind == "f" and metrics.shape == shape + names.shape


def _once(root: Path, lines: list[Line]) -> list[Line]:
    """Return the units that are done, each once; those of an older version are left out, a sweep does them again.

    Raises:
        CheckpointError: `nondeterministic`.
    """
    kept: dict[str, Line] = {}
    # The last revision that was run alone: numbers of two versions of the code do not go into one table.
    revision = next((line.facts.get("revision") for line in reversed(lines) if line.cells), None)
    for line in lines:
        if not line.cells or (line.facts.get("format"), line.facts.get("revision")) != (FORMAT, revision):
            continue
        twin = kept.setdefault(line.unit, line)
        if twin.sha256 != line.sha256:
            facts = f"{line.facts['method']}, {line.facts['mask']}"
            raise CheckpointError("nondeterministic", str(root), f"unit {line.unit} was done twice, differently", facts)
    return list(kept.values())


def _methods(lines: list[Line]) -> dict[str, MethodInfo]:
    last = {line.facts["method"]: line.facts for line in lines}
    return {name: MethodInfo(name, f["kind"], f["family"], f["samples"], f["tokenizer"]) for name, f in last.items()}


def _masks(root: Path, lines: list[Line]) -> dict[str, MaskInfo]:
    specs = {line.facts["mask"] for line in lines if line.facts["kind"] != "real"}  # real frames: nothing is hidden
    try:
        infos = [MaskInfo.of(spec) for spec in specs]
    except UsageError as error:
        raise CheckpointError("log-corrupt", str(root / JOURNAL), f"names no mask: {error.what}") from None
    return {info.spec: info for info in sorted(infos, key=lambda info: (info.pattern, info.ratio))}


def _failures(lines: list[Line]) -> tuple[Mapping[str, Any], ...]:
    """Return what failed and was not done later, each once."""
    done = {line.unit for line in lines if line.cells}
    last = {line.unit: line.facts for line in lines if not line.cells and line.unit not in done}
    return tuple(last.values())
