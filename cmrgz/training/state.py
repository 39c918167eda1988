"""What a training run is at a step: weights, their average and the optimiser, and how it is stored without pickle."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from cmrgz import records, weights
from cmrgz.durable import discard, encode, exists, matching, read_journal, rename, write_directory
from cmrgz.errors import CheckpointError, ResourceError, warn
from cmrgz.sending import sent
from cmrgz.training.best import is_best, told
from cmrgz.training.options import TrainOptions
from cmrgz.training.ranks import Ranks

TENSORS, RECORD = "state.safetensors", "state.json"
CHECKS = {
    "step": records.natural,
    "key": records.sha256,
    "sha256": records.sha256,
    "figures": records.kind(dict),
    "best": is_best,
}
BAD_STEPS = 3
"""Non-finite steps in a row after which training stops."""
BAD = {"bad": records.one_of(*range(BAD_STEPS))}
"""What a state also holds; one that was stored before it did counts from 0."""
KEEP = 2
"""Resumable states kept, so that a bad newest one costs little."""


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


@dataclass
class State:
    """A run at `step`: all that the next step depends on beside (seed, step)."""

    module: nn.Module
    optimizer: AdamW
    average: dict[str, Tensor]
    step: int = 0
    bad: int = 0
    """Steps in a row, up to this one, that were not finite."""
    figures: dict[str, Any] = field(default_factory=dict)
    """Of the last validation; the checkpoint tells them, also that of a run which died before it was written."""
    best: dict[str, Any] = field(default_factory=dict)
    """What is known of the best weights, see `cmrgz.training.best`; empty where none are kept."""
    best_average: dict[str, Tensor] = field(default_factory=dict)
    """These weights."""

    @classmethod
    def start(cls, module: nn.Module, options: TrainOptions) -> "State":
        """Return the state before the first step."""
        parameters = trainable(module)
        # Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019. Vectors are scales and offsets of
        # norms: to pull them to zero would be to switch them off.
        matrices = [p for p in parameters.values() if p.ndim >= 2]
        vectors = [p for p in parameters.values() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": options.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        there = next(iter(parameters.values())).device.type != "cpu"  # a step there is one kernel, and asks for nothing
        optimizer = AdamW(groups, lr=options.lr, betas=(0.9, 0.95), fused=there or None)
        return cls(module, optimizer, {name: p.detach().clone() for name, p in parameters.items()})

    def update(self, lost: Tensor, decay: float) -> None:
        """Take a step of the optimiser, unless the gradients are lost (bool), and move the average."""
        if lost.device.type == "cpu":
            if not bool(lost):
                self.optimizer.step()
                self.update_average(decay)
            return
        # What GradScaler of torch.amp sets: the fused kernel then skips the step by itself.
        self.optimizer.found_inf = lost.float()  # type: ignore[attr-defined]  # the host need not know
        self.optimizer.step()
        self.update_average(decay, 1 - lost.float())

    @torch.no_grad()
    def update_average(self, decay: float, kept: Tensor | None = None) -> None:
        """Move the average towards the weights, early on faster, so that it forgets the start; not if `kept` is 0."""
        rate = 1 - min(decay, (1 + self.step) / (10 + self.step))
        average, weights = list(self.average.values()), list[Tensor](trainable(self.module).values())
        if kept is None:
            torch._foreach_lerp_(average, weights, rate)
            return
        moves = torch._foreach_sub(weights, average)
        torch._foreach_mul_(moves, rate * kept)
        torch._foreach_add_(average, moves)

    @contextmanager
    def averaged(self, keep: str = "last") -> Iterator[None]:
        """Run with the averaged weights in the module: the last, or the best where there are any."""
        own = {name: p.detach().clone() for name, p in trainable(self.module).items()}
        self._put(self.best_average if keep == "best" and self.best_average else self.average)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, p in trainable(self.module).items():
            p.copy_(values[name])

    def spread(self, ranks: Ranks) -> None:
        """Be as the state of the first of several processes.

        Raises:
            ResourceError: `lost-process`.
        """
        if ranks.number == 1:
            return
        place = torch.tensor([self.step, self.bad])
        data = ranks.shared(lambda: weights.dump(self.tensors() | {"place": place}))
        if not ranks.leads:
            tensors = weights.tensors(data, weights.inspect(data, "state"), "state")
            step, self.bad = tensors.pop("place").tolist()
            self.put_tensors(tensors, step)

    def is_finite(self) -> bool:
        """Whether everything that would be stored is finite."""
        device = next(iter(self.average.values())).device
        # One answer for all of them: each that is asked for makes the host wait for the GPU.
        found = [sent(t.isfinite().all(), device) for t in self.tensors().values() if t.is_floating_point()]
        return bool(torch.stack(found).all())

    def tensors(self) -> dict[str, Tensor]:
        """Return everything as named tensors."""
        result = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        result |= {f"average.{name}": value for name, value in self.average.items()}
        result |= {f"best.{name}": value for name, value in self.best_average.items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            result |= {f"optimizer.{index}.{name}": value for name, value in slots.items()}
        return result

    def put_tensors(self, tensors: dict[str, Tensor], step: int) -> None:
        """Set everything from named tensors, as `tensors` gave them.

        Raises:
            CheckpointError: `incomplete-state`.
        """
        self.step = step
        try:
            self.module.load_state_dict(_under("module.", tensors))
            self.average = {name: tensors[f"average.{name}"].to(p.device) for name, p in trainable(self.module).items()}
            best = _under("best.", tensors)
            own = self.average if best else {}
            self.best_average = {name: best[name].to(value.device) for name, value in own.items()}
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in _under("optimizer.", tensors).items():
                index, slot = name.split(".", 1)
                state.setdefault(int(index), {})[slot] = value
            # Groups are options, those of this run; its slots alone are state.
            full = self.optimizer.state_dict()
            self.optimizer.load_state_dict({"state": state, "param_groups": full["param_groups"]})
        except (KeyError, RuntimeError, ValueError) as error:
            hint = "start anew in another folder"
            what = "does not fit this model"
            raise CheckpointError("incomplete-state", "state", what, str(error)[:80], hint) from None


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _folders(run: Path) -> list[Path]:
    """Return the stored states, oldest first; by step, never by time."""
    # Eight digits: the order of the names is that of the steps, whatever the clock said.
    return [path for path in matching(run, "state-*") if re.fullmatch("state-[0-9]{8}", path.name)]


def save(state: State, run: Path, key: str) -> None:
    """Store a resumable state in the folder of the run, and drop the oldest beyond `KEEP`.

    Args:
        state: The run at a step.
        run: Folder of the run.
        key: Hash of all that the result depends on; a state resumes only under the same key.

    Raises:
        ResourceError: `disk-full`, `permission` or `io`.
    """
    data = weights.dump(state.tensors())
    record = {"step": state.step, "key": key, "sha256": sha256(data).hexdigest(), "figures": state.figures}
    record |= {"best": state.best, "bad": state.bad}
    # Before an old one goes: a death in between leaves a state too many, never one too few.
    write_directory(run / f"state-{state.step:08d}", {TENSORS: data, RECORD: encode(record)})
    _prune(run)


def _prune(run: Path) -> None:
    for old in _folders(run)[:-KEEP]:
        discard(old)


def resume(state: State, run: Path, key: str) -> bool:
    """Put the newest good stored state into `state`; False if there is none.

    A bad one is set aside as `corrupt-*` with a warning, and the one before is taken.

    Raises:
        CheckpointError: `config-mismatch` if it belongs to another run; `no-checkpoint` if all are bad.
        ResourceError: `permission` or `io`.
    """
    folders = _folders(run)
    for folder in reversed(folders):
        try:
            _read(state, folder, key)
        except CheckpointError as error:
            if error.code == "config-mismatch":
                raise
            _set_aside(folder)
            warn("hash", folder.name, "stored state is damaged, taking the one before", error.code)
        else:
            _prune(run)  # of a run that died before it did
            return True
    if folders:
        hint = "start in another folder"
        raise CheckpointError("no-checkpoint", run.name, "every stored state is damaged", "", hint)
    return False


def last_figures(run: Path, key: str, keep: str) -> dict[str, Any] | None:
    """Return the figures that the result of a run tells, by its newest stored state; None if none is good.

    Raises:
        CheckpointError: `config-mismatch` if it belongs to another run.
    """
    for folder in reversed(_folders(run)):
        try:
            record = _read_record(folder, key)
        except CheckpointError as error:
            if error.code == "config-mismatch":
                raise
            continue
        return told(record["figures"], record["best"], keep)
    return None


def _set_aside(folder: Path) -> None:
    """Rename a bad state, so that it is looked at no more; those of earlier times stay too."""
    names = (f"corrupt-{folder.name}{'-' * bool(n)}{n or ''}" for n in count())
    rename(folder, next(name for name in names if not exists(folder.with_name(name))))


def _read(state: State, folder: Path, key: str) -> None:
    record, where = _read_record(folder, key), folder.name
    data = weights.read_bytes(folder / TENSORS)
    # What was hashed is what is parsed: the file is read once.
    if sha256(data).hexdigest() != record["sha256"]:
        raise CheckpointError("hash", where, "the stored hash does not match")
    state.put_tensors(weights.tensors(data, weights.inspect(data, where), where), record["step"])
    state.figures, state.best, state.bad = record["figures"], record["best"], record["bad"]
    if bool(state.best) != bool(state.best_average):
        raise CheckpointError("incomplete-state", where, "says of its best weights what cannot be")


def _read_record(folder: Path, key: str) -> dict[str, Any]:
    """Return what a stored state says of itself: a journal of one line.

    Raises:
        CheckpointError: `config-mismatch`, or it is damaged.
    """
    try:
        lines = read_journal(folder / RECORD, CHECKS)
    except ResourceError as error:
        raise CheckpointError("truncated", folder.name, error.what) from None
    if len(lines) != 1 or folder.name != f"state-{lines[0]['step']:08d}":
        raise CheckpointError("truncated", folder.name, f"{RECORD} is not that of this state")
    if lines[0]["key"] != key:
        hint = "use another --output folder, or the options and data of the first run"
        what = "belongs to a run with other options, data or code"
        raise CheckpointError("config-mismatch", folder.name, what, "", hint)
    return records.check({"bad": 0, **lines[0]}, BAD, folder.name)
