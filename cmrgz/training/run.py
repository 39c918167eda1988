"""A training run in a folder: data, split, model, loop, checkpoint. What `cmrgz train` does."""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from cmrgz import __version__, checkpoint, registry
from cmrgz.data import cases
from cmrgz.data.cases import Case
from cmrgz.data.clips import read_clip
from cmrgz.durable import atomic_write
from cmrgz.durable.files import lock
from cmrgz.errors import CheckpointError, ResourceError, UsageError, warn
from cmrgz.meta import Meta
from cmrgz.model import Tokenizer, Trainable
from cmrgz.plugin import ModelSpec, TokenizerSpec
from cmrgz.rng import Streams, derive
from cmrgz.signals import stop_on_signals
from cmrgz.training.frames import Batch, Frames, held_out
from cmrgz.training.loop import run
from cmrgz.training.plan import Plan, Spec, Start, find_spec, starting_from
from cmrgz.training.state import State, resume

PHANTOMS = 24
"""Built-in phantoms that a run without data trains on."""
FIT_STEP = 1 << 40
"""The items of the closed form are those of a step that no run reaches."""


def train(plan: Plan, quiet: bool = True) -> Path:
    """Train, or continue, and return the checkpoint folder.

    Raises:
        UsageError, DataError, PluginError: Before anything is written.
        CheckpointError: `config-mismatch` where the folder holds another run.
        DivergedError: The loss is not finite.
        Stopped: After a signal; the same call goes on.
    """
    spec, target = find_spec(plan.name), plan.output / "checkpoint"
    plan, start = starting_from(plan, spec)
    tokenizer = _tokenizer(spec, plan)
    if start is not None:
        start.check_tokenizer(tokenizer and tokenizer[1])
    sources, held = _data(plan, quiet)
    key, config = _key(plan, sources, held, tokenizer, start)
    plan.output.mkdir(parents=True, exist_ok=True)
    _claim(plan.output, key, config)
    if (target / "meta.json").is_file():
        return target
    with _locked(plan.output), torch.random.fork_rng(devices=[]), stop_on_signals() as stop:
        torch.manual_seed(derive(plan.seed, "init"))
        module = _build(spec, tokenizer, plan).to(plan.device)
        frames = Frames(sources, _item(spec), plan.shares, quiet, plan.train.augment)
        state = State.start(module, plan.train)
        if not resume(state, plan.output, key):
            if start is not None:
                module.load_state_dict(start.module.state_dict())
            else:
                module.fit(_fit_items(frames, plan).to(plan.device), rng=Streams(plan.seed, [("fit",)]))
            state = State.start(module, plan.train)
        validation = _Validation(module, held, _item(spec), plan)

        def export(state: State, folder: Path = plan.output / "early") -> None:
            with state.averaged():
                _export(spec, module, tokenizer, plan, config, validation.last, folder)

        run(state, module, frames, plan.train, plan.output, key, plan.seed, stop, validation, export, quiet)
        export(state, target)
        return target


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the run's folder: two processes must not train in it.

    Raises:
        ResourceError: `locked`.
    """
    fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not lock(fd):
            raise ResourceError("locked", str(folder), "another process is training here", "", "wait for it or stop it")
        yield
    finally:
        os.close(fd)


def _item(spec: Spec) -> tuple[int, int]:
    return (spec.item[0], spec.item[1]) if isinstance(spec, ModelSpec) else (128, 128)


def _tokenizer(spec: Spec, plan: Plan) -> tuple[Tokenizer, Meta] | None:
    """Return the tokenizer that a model is to be built on."""
    if isinstance(spec, TokenizerSpec) or spec.tokenizer is None:
        if plan.tokenizer is not None:
            raise UsageError("usage", "option --tokenizer", f"'{spec.name}' takes no tokenizer")
        return None
    return checkpoint.open_tokenizer(plan.tokenizer or spec.tokenizer, plan.device)


def _phantoms(seed: int, quiet: bool) -> list[Case]:
    """Return the built-in phantoms, which are rendered at first use: minutes, once."""
    with tqdm(total=PHANTOMS, desc="rendering phantoms", unit="patient", disable=quiet, leave=False) as bar:

        def advance(done: int) -> None:
            bar.update(done - bar.n)

        return cases.builtin(PHANTOMS, seed, size=176, progress=advance)


def _data(plan: Plan, quiet: bool) -> tuple[list[list[Case]], list[Case]]:
    """Return the training cases of each data set, and the cases to validate on."""
    found = [cases.find(path) for path in plan.data] or [_phantoms(plan.seed, quiet)]
    if plan.validation:
        return found, [case for path in plan.validation for case in cases.find(path)]
    splits = [cases.split(part, (0.9, 0.1, 0.0), plan.seed) for part in found]
    return [part["train"] for part in splits], [case for part in splits for case in part["val"]]


def _key(
    plan: Plan,
    sources: list[list[Case]],
    held: list[Case],
    tokenizer: tuple[Tokenizer, Meta] | None,
    start: Start | None,
) -> tuple[str, dict[str, Any]]:
    """Return the hash of all that the result depends on, and the resolved config in JSON's types."""
    parts = {f"train-{i}": part for i, part in enumerate(sources)} | {"validation": held}
    config = {
        "name": plan.name,
        "seed": plan.seed,
        "train": dataclasses.asdict(plan.train),
        "build": dict(plan.build),
        "shares": list(plan.shares),
        "split_sha256": cases.split_hash(parts),
        "subjects": {name: len({case.subject for case in part}) for name, part in parts.items()},
        "trained_on": _trained_on(sources, tokenizer[1] if tokenizer else None, start.meta if start else None),
        "tokenizer_sha256": tokenizer[1].sha256 if tokenizer else None,
        "start_sha256": start.meta.sha256 if start else None,
        "version": __version__,
        "torch": torch.__version__,
    }
    return sha256(json.dumps(config, sort_keys=True, default=list).encode()).hexdigest(), config


def _trained_on(sources: list[list[Case]], *before: Meta | None) -> list[str] | None:
    """Return the keyed hashes of all patients that the result has learned from, or None where some are not known.

    Args:
        sources: The training data.
        before: What the weights that it builds on say: of the tokenizer, and of those that it starts from.
    """
    found = {case.subject_id for part in sources for case in part}
    for meta in before:
        told: list[str] | None = [] if meta is None else meta.training.get("trained_on")
        if told is None:
            return None
        found.update(told)
    return sorted(found)


def _claim(folder: Path, key: str, config: Mapping[str, Any]) -> None:
    """Write the run's config, or check that the folder holds this very run.

    Raises:
        CheckpointError: `config-mismatch`, naming what differs.
    """
    path = folder / "config.json"
    if not path.is_file():
        atomic_write(path, json.dumps({"key": key, **config}, indent=1, default=list).encode())
        return
    stored = json.loads(path.read_bytes())
    if stored.get("key") != key:
        now = json.loads(json.dumps(config, default=list))
        differing = [name for name, value in now.items() if stored.get(name) != value]
        hint = "use another --output folder"
        raise CheckpointError("config-mismatch", str(folder), "holds another run", f"differs: {differing}", hint)


def _build(spec: Spec, tokenizer: tuple[Tokenizer, Meta] | None, plan: Plan) -> Trainable:
    if isinstance(spec, TokenizerSpec):
        return registry.build_tokenizer(spec, plan.build)
    return registry.build_model(spec, tokenizer[0] if tokenizer else None, plan.build)


def _plugins(spec: Spec, tokenizer: tuple[Tokenizer, Meta] | None) -> list[dict[str, Any]]:
    """Return what was installed, and which of it was used."""
    if isinstance(spec, ModelSpec):
        entry: registry.Entry[Any] = registry.find_entry(spec, registry.models())
    else:
        entry = registry.find_entry(spec, registry.tokenizers())
    used = {f"{entry.distribution}:{spec.name}"} | ({tokenizer[1].qualified} if tokenizer else set())
    return registry.describe_plugins(used)


def _fit_items(frames: Frames, plan: Plan) -> Tensor:
    return frames.batch(plan.seed, FIT_STEP, plan.train.fit_items).x


class _Validation:
    """Loss and figures of merit on held-out patients, patient by patient; warns where training made things worse."""

    def __init__(self, module: Trainable, held: Sequence[Case], item: tuple[int, int], plan: Plan) -> None:
        self.module, self.plan = module, plan
        self.batches = [held_out(read_clip(case), item, plan.train.validation_items) for case in held]
        self.last: dict[str, Any] = {}

    @torch.no_grad()
    def __call__(self, state: State) -> dict[str, Any]:
        """Return the figures of the averaged weights."""
        self.module.eval()
        with state.averaged():
            rows = [self._row(batch) for batch in self.batches]
        names = rows[0] if rows else {}
        self.last = {"validation": {name: sum(row[name] for row in rows) / len(rows) for name in names}}
        self.last["patients"] = rows
        _warn_below_closed_form(rows)
        return self.last

    def _row(self, batch: Batch) -> dict[str, float]:
        x = batch.x.to(self.plan.device)
        condition = {name: value.to(self.plan.device) for name, value in batch.condition.items()}
        rng = Streams(self.plan.seed, [("validation", i) for i in range(len(x))])
        return {"loss": float(self.module.loss(x, condition=condition, rng=rng)), **self.module.metrics(x)}


def _warn_below_closed_form(rows: Sequence[Mapping[str, float]]) -> None:
    """Warn where a trained round trip is worse than the closed form that it started from."""
    for number, row in enumerate(rows):
        worse = [name for name in row if f"closed_{name}" in row and row[name] < row[f"closed_{name}"] - 0.005]
        if worse:
            facts = ", ".join(f"{name} {row[name]:.2f} < {row[f'closed_{name}']:.2f} dB" for name in worse[:2])
            warn("below-closed-form", f"held-out patient {number}", "the trained decoder is worse", facts)


def _export(
    spec: Spec,
    module: Trainable,
    tokenizer: tuple[Tokenizer, Meta] | None,
    plan: Plan,
    config: Mapping[str, Any],
    figures: Mapping[str, Any],
    target: Path,
) -> None:
    """Write the averaged weights as a checkpoint, over one that a run that died has left."""
    training = json.loads(json.dumps({**config, **figures, "plugins": _plugins(spec, tokenizer)}, default=list))
    spacing = spec.spacing if isinstance(spec, ModelSpec) else 1.4
    meta = checkpoint.describe(spec, plan.build, item=_item(spec), spacing=spacing, training=training)
    checkpoint.save(target, module, meta, tokenizer=tokenizer, dtype=plan.dtype, overwrite=True)  # type: ignore[arg-type]
