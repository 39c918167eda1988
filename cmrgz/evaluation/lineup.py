"""Who takes part in a sweep: frames, training frames, and the methods that the options name."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os.path import abspath, realpath
from pathlib import Path

from cmrgz import records, registry
from cmrgz.data import cases, sides
from cmrgz.data.cases import Case
from cmrgz.data.cines import MaskFile
from cmrgz.data.hashes import sha256_of_file
from cmrgz.data.nifti.reader import read_header
from cmrgz.durable import atomic_write, exists, read_record
from cmrgz.errors import DataError, UsageError
from cmrgz.evaluation.competitors import Method, ModelMethod
from cmrgz.evaluation.frames import Frame, read_frames
from cmrgz.evaluation.options import MANIFEST, SweepOptions, is_mask_file
from cmrgz.evaluation.references import context_fills, references
from cmrgz.plugin import Extent
from cmrgz.scans.choice import Chosen
from cmrgz.scans.hiding import Label

TEST_SEED, BANK_SEED = 5000, 1000
"""Seeds of the built-in phantoms: those of the test set were in no training of the bundled weights, the others were."""
SIZE = 176
"""Pixels along a side of a built-in phantom."""
PAPER = "preset=paper_like"
BANK_FRAMES = "6"
"""Frames of each training case."""

SOURCES = "sources.json"
"""Where a run took its data and weights from, the only file of a run that holds paths: leave it out where a run is
passed on to those who shall not know them. It lets a run be verified; no report, table or journal is made of it."""
NAMES = ("data", "bank", "models", "extractors", "patterns")
CHECKS: records.Checks = {name: records.listed(records.kind(str)) for name in NAMES}

Sources = Mapping[str, Sequence[str]]

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Lineup:
    """What a sweep runs on.

    Attributes:
        frames: To evaluate on.
        bank: Training frames, perhaps none.
        methods: In the order of tables.
        files: Names of the masks that are read, not drawn.
    """

    frames: Sequence[Frame]
    bank: Sequence[Frame]
    methods: Sequence[Method]
    files: Sequence[str] = ()


def choose_models(sweep: SweepOptions, device: str = "cpu", batch_size: int | None = None) -> list[ModelMethod]:
    """Return the models of a sweep, checked but not loaded.

    Raises:
        UsageError: A model is unknown, or an option of it is; two have one name; none is installed.
    """
    bundled = (e.name for e in registry.models().values() if e.spec is not None and e.spec.checkpoint is not None)
    named = list(sweep.models or bundled)
    if not named and not sweep.baselines:
        raise UsageError("usage", "option --model", "there is nothing to evaluate", hint="see cmrgz models")
    found = [_model(text, device, batch_size) for text in named]
    taken = {method.name for method in found}
    twins = [_twin(text, device, batch_size) for text in named if sweep.paper_like and "preset=" not in text]
    return found + [twin for twin in twins if twin is not None and twin.name not in taken]


def _twin(text: str, device: str, batch_size: int | None) -> ModelMethod | None:
    """Return a model with its options and the faults of published code; None where it has none, or they do not fit."""
    target, assignments = split(text)
    if "preset" not in registry.sample_schema(registry.get_model(Chosen.of(target).meta.qualified)):
        return None
    try:
        return _model(joined(target, [*assignments, PAPER]), device, batch_size)
    except UsageError:  # an option of it is what the preset would set
        return None


def split(text: str) -> tuple[str, list[str]]:
    """Return the model and the options that NAME or NAME:option=value,... names."""
    if exists(text) or "=" not in text:
        return text, []
    first, _, rest = text.partition("=")
    target, _, option = first.rpartition(":")  # what comes before may be `package:name`
    return target, [word for word in f"{option}={rest}".split(",") if word]


def joined(target: str, assignments: Sequence[str]) -> str:
    """Return what `split` takes apart."""
    return ":".join([target, *([",".join(assignments)] if assignments else [])])


def _model(text: str, device: str, batch_size: int | None) -> ModelMethod:
    """Return the model that NAME or NAME:option=value,... names."""
    target, assignments = split(text)
    chosen = Chosen.of(target, assignments, device=device, batch_size=batch_size)
    meta = chosen.meta
    label = meta.name if target == meta.name else f"{meta.name}@{meta.sha256[:8]}"  # a path is never stored
    return ModelMethod(joined(label, assignments), chosen)


def common_frame(models: Sequence[ModelMethod]) -> Extent:
    """Return the frames that all models take: those of a model of blocks are as large.

    Raises:
        UsageError: `usage`: they differ.
    """
    # Models of blocks may see more or fewer phases: they are scored on frames, as the others are.
    seen = {(e.plane, e.spacing) for e in (method.chosen.meta.extent for method in models)} or {((128, 128), 1.4)}
    if len(seen) > 1:
        facts = ", ".join(f"{height}x{width} at {spacing:g} mm" for (height, width), spacing in sorted(seen))
        raise UsageError("usage", "models", "take frames of different shapes, which cannot be compared", facts)
    plane, spacing = seen.pop()
    return Extent(("y", "x"), plane, spacing)


def find_cases(sweep: SweepOptions, advance: Advance | None = None) -> tuple[list[Case], list[Case]]:
    """Return the cases to evaluate on, and those to learn from.

    Raises:
        DataError: There is no scan, or a patient is in both.
    """
    builtin = partial(cases.builtin, size=SIZE, progress=advance)
    test = _found(sweep, sweep.data, sides.to_test) or builtin(sweep.subjects, TEST_SEED)
    bank = []
    if sweep.bank_subjects and (sweep.bank or not sweep.data):  # built-in phantoms for built-in phantoms
        bank = _found(sweep, sweep.bank, sides.to_learn) or builtin(sweep.bank_subjects, BANK_SEED)
    test, bank = sides.told_apart([test, bank])
    test, bank = _first(test, sweep.subjects), _first(bank, sweep.bank_subjects)
    test, bank = sides.check_disjoint({"test data": test, "training data": bank})
    return test, bank


def _found(sweep: SweepOptions, paths: Sequence[str], use: Callable[[Sequence[Case]], list[Case]]) -> list[Case]:
    """Return the cases of data sets that may be put to a use."""
    sets = cases.find_all(paths, axes=sweep.axes or None, labels=sweep.labels or None)
    found = [case for part in sets for case in part]
    if len({realpath(case.image) for case in found}) < len(found):
        raise DataError("duplicate", "data", "a scan is named more than once")
    return use(found)


def _first(found: Sequence[Case], subjects: int) -> list[Case]:
    """Return the cases of at most so many patients, the first by hash."""
    # By hash, not as a folder lists them: any number of patients is a random draw, and a larger one holds it.
    chosen = set(sorted({case.subject_id for case in found})[:subjects])
    return [case for case in found if case.subject_id in chosen]


def assemble(sweep: SweepOptions, models: Sequence[ModelMethod], advance: Advance | None = None) -> Lineup:
    """Read the data and make the methods beside the models of `choose_models`; see `sweep.prepare`."""
    extent = common_frame(models)
    test, bank = find_cases(sweep, advance)
    files = mask_files(sweep)
    read = partial(_files_of, files=files)
    frames = read_frames(test, extent.plane, sweep.frames, spacing=extent.spacing, span=sweep.span, masks=read)
    known = read_frames(bank, extent.plane, BANK_FRAMES, spacing=extent.spacing, span=sweep.span)
    others = [*references(models, known), *context_fills(frames)] if sweep.baselines else []
    methods = [*models, *others]
    if len({method.name for method in methods}) < len(methods):
        raise UsageError("usage", "models", "a model with the same options is named twice")
    return Lineup(frames, known, methods, list(files))


def mask_files(sweep: SweepOptions) -> dict[str, tuple[Path | None, Label]]:
    """Return the masks that are read, and what 1 means in each, by what they are called in a run.

    A name holds no path but what is in the file. None is the file that a manifest names.

    Raises:
        DataError: A file is not there or is refused.
    """
    found: dict[str, tuple[Path | None, Label]] = {}
    for pattern in filter(is_mask_file, sweep.patterns):
        file, name = None, f"manifest:{sweep.mask_label}"
        if pattern != MANIFEST:
            read_header(pattern)
            file, name = Path(pattern), f"file:{sha256_of_file(Path(pattern))[:8]},{sweep.mask_label}"
        found[name] = file, sweep.mask_label
    return found


def _files_of(case: Case, files: Mapping[str, tuple[Path | None, Label]]) -> dict[str, MaskFile]:
    """Return the mask files of a case.

    Raises:
        DataError: `mask-empty`: a manifest names none.
    """
    if case.mask is None and any(file is None for file, _ in files.values()):
        hint = "name it in a column mask of a manifest"
        raise DataError("mask-empty", str(case.image), "has no mask", hint=hint)
    return {name: (own, label) for name, (file, label) in files.items() if (own := file or case.mask)}


def write_sources(root: Path, options: SweepOptions) -> None:
    """Store where a run takes what it names by a path, absolute.

    Raises:
        ResourceError: The folder cannot be written.
    """
    # Absolute: the run may be verified from another working directory.
    told = {
        "data": [abspath(path) for path in options.data],
        "bank": [abspath(path) for path in options.bank],
        "models": [joined(abspath(target), rest) for target, rest in map(split, options.models) if exists(target)],
        "extractors": [f"{n}={abspath(path)}" for n, path in (t.split("=", 1) for t in options.extractors if "=" in t)],
        "patterns": [abspath(p) for p in options.patterns if is_mask_file(p) and p != MANIFEST],
    }
    atomic_write(root / SOURCES, json.dumps(told, indent=1).encode(), overwrite=True)


def read_sources(root: Path, given: Sources) -> dict[str, list[str]]:
    """Return the paths of a run: those that are given, else those that it stores; none where it stores none.

    Raises:
        CheckpointError: `header`: the file is damaged.
    """
    stored = read_record(root / SOURCES, CHECKS) if exists(root / SOURCES) else {}
    return {name: list(given.get(name) or stored.get(name, ())) for name in NAMES}


def where(root: Path, sources: Sources) -> str:
    """Return where a run was looked for, in words."""
    named = [f"{name} {', '.join(paths)}" for name, paths in sources.items() if paths]
    told = "as told now and in" if exists(root / SOURCES) else "there is no"
    return f"{told} {SOURCES}: {'; '.join(named) or 'built-in phantoms'}"
