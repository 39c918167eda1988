"""Verify: some cells of a run are computed again, from the data and the weights, and compared with what is stored."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmrgz import options
from cmrgz.errors import CheckpointError, CmrgzError, UsageError
from cmrgz.evaluation.cells import Unit
from cmrgz.evaluation.crops import is_file
from cmrgz.evaluation.extractors import EXTRACTORS
from cmrgz.evaluation.lineup import NAMES, Sources, read_sources, where
from cmrgz.evaluation.options import MANIFEST, SweepOptions, check
from cmrgz.evaluation.store import SETTINGS, Line, read_lines, read_results, read_settings
from cmrgz.evaluation.sweep import Sweep, attempt, prepare
from cmrgz.plugin import Progress


@dataclass(frozen=True)
class Comparison:
    """A cell that was done again: its address, what filled and what hid.

    Attributes:
        equal: Whether every number is the same to the bit.
        largest: The largest difference of a number.
    """

    cell: str
    method: str
    mask: str
    equal: bool
    largest: float


def verify(
    root: Path, count: int, seed: int, device: str, sources: Sources, report: Progress | None = None
) -> list[Comparison]:
    """Compute so many cells of a run again, drawn at random, and compare.

    Sources are `data`, `bank`, checkpoint folders as `models`, local `extractors` and mask files as `patterns`, where
    they lie elsewhere than the run was told. `report` is told the cells compared.

    Raises:
        CheckpointError: The run's settings are missing; `changed`: none of its cells can be computed any more, since
            data, weights or code are others; or its journal or files are damaged.
        DataError: A scan is missing.
    """
    sources = read_sources(root, sources)
    sweep = prepare(read_options(root, sources), device)
    places = {cell: (line, row) for line in read_lines(root) for row, cell in enumerate(line.cells)}
    units = [unit for unit in sweep.units(set()) if any(cell in places for cell in unit.cells)]
    chosen = _chosen(units, places, count, seed)
    if not chosen:
        what = "none of its cells can be computed: data, weights or code are others"
        hint = "name --data, --bank, --model and --mask as in the run"
        raise CheckpointError("changed", str(root), what, f"looked {where(root, sources)}", hint)
    found = []
    for number, (unit, index) in enumerate(chosen, 1):
        line, row = places[unit.cells[index]]
        found.append(_compared(sweep, root, unit, index, line, row))
        if report is not None:
            report(number, len(chosen))
    return found


def read_options(root: Path, sources: Sources) -> SweepOptions:
    """Return the options that a run was last started with, with its paths.

    Raises:
        CheckpointError: `not-found`, or `header`: the file does not hold the options of a sweep.
    """
    stored = read_settings(root)["options"]
    # NAME@HASH is a checkpoint folder, an extractor that is none of ours a file: a run itself stores no path of them.
    told = {name: list(sources.get(name, ())) for name in NAMES}
    told["models"] = [name for name in stored["models"] if "@" not in str(name)] + told["models"]
    plain = [name for name in stored["extractors"] if str(name) in EXTRACTORS]
    told["extractors"] = plain + [text for text in told["extractors"] if "=" in text]
    patterns = [MANIFEST if text.startswith(MANIFEST) else text for text in stored["patterns"]]
    told["patterns"] = [text for text in patterns if text == MANIFEST or not is_file(text)] + told["patterns"]
    values = {**stored, **told}
    try:
        result = SweepOptions(**options.parse(values, options.schema(SweepOptions), str(root / SETTINGS)))
        check(result)
    except UsageError as error:
        raise CheckpointError("header", str(root / SETTINGS), error.what, error.facts, error.hint) from None
    return result


def _chosen(units: list[Unit], places: dict[str, Any], count: int, seed: int) -> list[tuple[Unit, int]]:
    """Return random cells as (unit, row), in the order of the units: each model is loaded once."""
    # By place, not by hash: sorted, the cells of one model follow one another.
    every = [(u, i) for u, unit in enumerate(units) for i, cell in enumerate(unit.cells) if cell in places]
    picked = np.random.default_rng(seed).permutation(len(every))[:count]
    return [(units[u], i) for u, i in sorted(every[k] for k in picked)]


def _compared(sweep: Sweep, root: Path, unit: Unit, index: int, line: Line, row: int) -> Comparison:
    """Compute one cell and compare it with a row of the stored ones."""
    alone, own = unit.crop_of(index)
    # Its crop alone: that a frame does not depend on what shares its unit is put to the test too.
    result = attempt(sweep.scorer, alone, leak=False)
    if isinstance(result, CmrgzError):
        raise result
    stored, arrays = read_results(root, line), result[0]
    before, now = stored["metrics"][row], arrays["metrics"][own]
    same = list(stored["names"]) == list(arrays["names"]) and stored["known_sha1"][row] == arrays["known_sha1"][own]
    equal = same and np.array_equal(before, now, equal_nan=True)
    features = [name for name in arrays if name.startswith("features-") or name == "radii"]
    equal = equal and all(np.array_equal(stored[name][row], arrays[name][own], equal_nan=True) for name in features)
    apart = np.abs(before - now) if same else np.array([np.inf])
    largest = float(np.nanmax(apart)) if np.isfinite(apart).any() else float(not equal)
    return Comparison(unit.cells[index], unit.method.name, unit.mask, bool(equal), largest)
