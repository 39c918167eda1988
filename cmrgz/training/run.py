"""A training run in a folder: data, split, model, loop, checkpoint. What `cmrgz train` does."""

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from cmrgz import __version__, checkpoint, registry
from cmrgz.arithmetic import repeatable
from cmrgz.checkpoint import Opened
from cmrgz.conditions import learn
from cmrgz.data import cases, sides
from cmrgz.data.cases import Case
from cmrgz.durable import locked, make_directory, remove_stale, require_writable
from cmrgz.errors import UsageError, of_a_plugin
from cmrgz.meta import Meta
from cmrgz.model import Tokenizer, Trainable
from cmrgz.pieces import require_compiler
from cmrgz.plugin import Extent, Spec
from cmrgz.rng import Streams, derive
from cmrgz.sending import device_of
from cmrgz.signals import stop_on_signals
from cmrgz.skeletons import check_options
from cmrgz.training.best import require_validation, told
from cmrgz.training.extents import check_together, extent_of, settled
from cmrgz.training.folder import CHECKPOINT, claim, finished, key_of
from cmrgz.training.frames import Frames
from cmrgz.training.loop import run
from cmrgz.training.options import TrainOptions
from cmrgz.training.patients import Patients, check_names, read_patients
from cmrgz.training.plan import Plan, Start, find_spec, starting_from
from cmrgz.training.ranks import Ranks, joined
from cmrgz.training.resident import on_device
from cmrgz.training.state import State, resume
from cmrgz.training.validation import Validation
from cmrgz.training.watch import require as require_log
from cmrgz.vocabulary import Vocabulary

LOG = logging.getLogger("cmrgz.training")
PHANTOMS = 24
"""Built-in phantoms that a run without data trains on."""
PHASES = 20
"""Their frames a cycle, for a model that sees time."""
FIT_STEP = 1 << 40
"""The items of the closed form are those of a step that no run reaches."""


def train(plan: Plan, quiet: bool = True) -> Path:
    """Train, or continue, and return the checkpoint folder; as one of several processes where `torchrun` started it.

    Raises:
        UsageError, DataError, PluginError: Before anything is written.
        CheckpointError: `config-mismatch` where the folder holds another run; a file of it is damaged.
        ResourceError: `locked`: another process trains here; the folder cannot be written, told before the work.
        DivergedError: The loss is not finite.
        Stopped: After a signal; the same call goes on.
    """
    with repeatable(plan.device), joined(plan.device, plan.train.shards) as ranks:
        return _train(plan, ranks, quiet or not ranks.leads)


def _train(plan: Plan, ranks: Ranks, quiet: bool) -> Path:
    """Train as one of some processes, of which the first writes."""
    spec, target = find_spec(plan.name), plan.output / CHECKPOINT
    if ranks.leads:
        _require(plan)
    plan, extent, tokenizer, start = _opened(plan, spec)
    sources, held = _data(plan, extent, quiet)
    require_validation(plan.train, len(held))
    told_before = start.meta.conditions if start else None
    patients = read_patients(plan.train.conditions, list(chain(*sources)), held, told_before)
    config = _config(plan, extent, sources, held, tokenizer, start, patients)
    key = key_of(config)

    # Under the lock of the folder: what a living process is writing must not pass for what a dead one left.
    def is_done() -> bool:
        remove_stale(plan.output)
        claim(plan.output, config)
        return finished(plan.output, _meta(spec, extent, plan, config, patients), key, plan.train.steps)

    with ranks.alone(_held(plan.output)):
        if ranks.shared(lambda: b"done" if is_done() else b"to do") == b"done":
            return target
        # The global generator, since a plugin's modules draw their first weights from it; it is given back as it was.
        with torch.random.fork_rng(devices=[]), stop_on_signals() as stop:
            torch.manual_seed(derive(plan.seed, "init"))
            module = _build(spec, extent, tokenizer, plan, patients.vocabulary).to(plan.device)
            frames = Frames(sources, extent, plan.shares, quiet, plan.train.augment, patients)
            state = State.start(module, plan.train)
            # The first alone reads, since the others may not see its disk; they get its state by `spread`.
            if ranks.leads and not resume(state, plan.output, key):
                _begin(module, extent, frames, start, plan)
                state = State.start(module, plan.train)
            state.spread(ranks)
            validate = Validation(module, held if ranks.leads else [], extent, plan, patients)

            def export(state: State, folder: Path = plan.output / "early", keep: str = "last") -> None:
                figures = told(state.figures, state.best, keep)
                training = {**config, **figures, "plugins": _plugins(spec, tokenizer)}
                with state.averaged(keep):
                    meta = _meta(spec, extent, plan, training, patients)
                    checkpoint.save(folder, module, meta, tokenizer=tokenizer, dtype=plan.dtype, overwrite=True)  # type: ignore[arg-type]

            told_to = (validate, export, partial(export, folder=plan.output / "best"), quiet, plan.log, ranks)
            read = on_device(frames, device_of(module), quiet=not ranks.leads)
            run(state, module, read, plan.train, plan.output, key, plan.seed, stop, *told_to)
            if ranks.leads:
                export(state, target, plan.train.keep)
                _tell_best(state, plan.train)
            return target


def _require(plan: Plan) -> None:
    """Refuse what can be refused before the data is read, which may take minutes."""
    require_writable(plan.output)
    require_log(plan.log)
    if plan.train.compile:
        require_compiler(plan.device)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    make_directory(folder)
    with locked(folder, "training"):
        yield


def _tell_best(state: State, options: TrainOptions) -> None:
    """Say which weights the result are, where there is a choice."""
    if state.best:
        step, loss = state.best["step"], state.best["loss"]
        kept = step if options.keep == "best" else state.step
        LOG.info(f"the result is the weights of step {kept}; the best validation loss was {loss:.4g} at step {step}")


def _opened(plan: Plan, spec: Spec) -> tuple[Plan, Extent, Opened[Tokenizer] | None, Start | None]:
    """Return the plan with all options of the architecture, its items, its tokenizer and what it starts from."""
    full, start = starting_from(plan, spec)
    extent = extent_of(plan.build.get("axes"), plan.train.item, start.meta.extent if start else spec.extent)
    tokenizer = _tokenizer(spec, full)
    if start is not None:
        start.check_tokenizer(tokenizer and tokenizer.meta)
    check_together(plan.train, extent)
    full = settled(full, spec, extent, tokenizer.module.patch if tokenizer else None)
    check_names(spec, plan.train.conditions)
    asked = {name: () for name in plan.train.conditions}
    # Which values a condition has the data will tell; whether the options fit shows without any.
    check_options(lambda: _build(spec, extent, tokenizer, full, asked))
    return full, extent, tokenizer, start


def _begin(module: Trainable, extent: Extent, frames: Frames, start: Start | None, plan: Plan) -> None:
    """Give a fresh module the weights that training starts from, and what has a closed form.

    Conditions of patients that those weights lack are zero: the module starts as what they are, to the bit.
    """
    if start is not None:
        learn(start.module, frames.patients.vocabulary)
    if start is not None and start.give(module, extent):
        return
    number = -(-plan.train.fit_items // prod(frames.surroundings))
    # Of neighbours, since `fit` is not told how far apart frames are.
    items = frames.of_shape(plan.seed, FIT_STEP, number, frames.surroundings, strides=False)
    with of_a_plugin("fit", "failed"):
        module.fit(items.x.to(plan.device), rng=Streams(plan.seed, [("fit",)]))


def _tokenizer(spec: Spec, plan: Plan) -> Opened[Tokenizer] | None:
    """Return the tokenizer that a model is to be built on."""
    if spec.tokenizer is None:
        if plan.tokenizer is not None:
            raise UsageError("usage", "option --tokenizer", f"'{spec.name}' takes no tokenizer")
        return None
    return checkpoint.open_tokenizer(plan.tokenizer or spec.tokenizer, plan.device)


def _phantoms(plan: Plan, extent: Extent, quiet: bool) -> list[Case]:
    """Return the built-in phantoms, which are rendered at first use: minutes, once."""
    phases = 6 if extent.phases == 1 else PHASES
    with tqdm(total=PHANTOMS, desc="rendering phantoms", unit="patient", disable=quiet, leave=False) as bar:

        def advance(done: int) -> None:
            bar.update(done - bar.n)

        # 176 pixels of 1.4 mm: larger than an item, so that crops differ.
        return cases.builtin(PHANTOMS, plan.seed, 176, phases=phases, progress=advance, workers=plan.processes)


def _found(plan: Plan) -> list[list[Case]]:
    """Return the data sets; scans that are named one by one are one, or one each where each is given a share."""
    if len(plan.shares) == len(plan.data):
        return [cases.find(source, axes=plan.axes, banks=True) for source in plan.data]
    return cases.find_all(plan.data, axes=plan.axes, banks=True)


def _data(plan: Plan, extent: Extent, quiet: bool) -> tuple[list[list[Case]], list[Case]]:
    """Return the training cases of each data set, and the cases to validate on."""
    found = _found(plan) or [_phantoms(plan, extent, quiet)]
    if plan.validation:
        named = cases.find_all(plan.validation, axes=plan.axes, banks=True)
        every = sides.told_apart([*map(sides.to_learn, found), *map(sides.to_validate, named)])
        train, held = every[: len(found)], list(chain(*every[len(found) :]))
        sides.check_disjoint({"training data": list(chain(*train)), "validation data": held})
        return train, held
    splits = sides.split_together(found, (0.9, 0.1, 0.0), plan.seed)
    return [part["train"] for part in splits], [case for part in splits for case in part["val"]]


def _config(
    plan: Plan,
    extent: Extent,
    sources: list[list[Case]],
    held: list[Case],
    tokenizer: Opened[Tokenizer] | None,
    start: Start | None,
    patients: Patients,
) -> dict[str, Any]:
    """Return all that the result depends on, in JSON's types."""
    parts = {f"train-{i}": part for i, part in enumerate(sources)} | {"validation": held}
    train = dataclasses.asdict(plan.train) | {"item": extent.item}
    del train["workers"]  # a run may be gone on with by more or fewer
    config = {
        "name": plan.name,
        "seed": plan.seed,
        "train": train,
        "axes": extent.axes,
        "build": dict(plan.build),
        "shares": list(plan.shares),
        "split_sha256": cases.split_hash(parts),
        "subjects": {name: len({case.subject for case in part}) for name, part in parts.items()},
        "trained_on": _trained_on(sources, tokenizer.meta if tokenizer else None, start.meta if start else None),
        "conditions": patients.vocabulary,
        "conditions_sha256": patients.sha256(chain(*sources, held)),
        "tokenizer_sha256": tokenizer.meta.sha256 if tokenizer else None,
        "start_sha256": start.meta.sha256 if start else None,
        # Another version may add in another order: a run goes on to the bit, or is refused.
        "version": __version__,
        "torch": torch.__version__,
    }
    plain: dict[str, Any] = json.loads(json.dumps(config, default=list))
    return plain


def _trained_on(sources: list[list[Case]], *before: Meta | None) -> list[str] | None:
    """Return the keyed hashes of all patients that the result has learned from, or None where some are not known.

    Args:
        sources: The training data.
        before: What the weights that it builds on say: of the tokenizer, and of those that it starts from.
    """
    found = {case.subject_id for part in sources for case in part}
    for meta in before:
        told: list[str] | None = [] if meta is None else meta.training.get("trained_on")
        # Some are not known, which is not the same as none: an evaluation says so.
        if told is None:
            return None
        found.update(told)
    return sorted(found)


def _build(
    spec: Spec, extent: Extent, tokenizer: Opened[Tokenizer] | None, plan: Plan, vocabulary: Vocabulary
) -> Trainable:
    if spec.kind == "tokenizer":
        return registry.build_tokenizer(spec, plan.build)
    model = registry.build_model(spec, tokenizer.module if tokenizer else None, plan.build)
    learn(model, vocabulary)
    model.extent = extent
    return model


def _plugins(spec: Spec, tokenizer: Opened[Tokenizer] | None) -> list[dict[str, Any]]:
    """Return what was installed, and which of it was used."""
    entry = registry.find_entry(spec)
    used = {f"{entry.package}:{spec.name}"} | ({tokenizer.meta.qualified} if tokenizer else set())
    return registry.describe_plugins(used)


def _meta(spec: Spec, extent: Extent, plan: Plan, training: Mapping[str, Any], patients: Patients) -> Meta:
    """Return what the checkpoint says of itself."""
    told = patients.vocabulary
    meta = checkpoint.describe(spec, plan.build, extent=extent, training=training, conditions=told)
    return dataclasses.replace(meta, dtype=plan.dtype)
