"""The training loop, the same for tokenizers and models."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from tqdm import tqdm

from cmrgz.durable import Journal, encode
from cmrgz.errors import CheckpointError, DivergedError, Stopped
from cmrgz.model import Trainable
from cmrgz.pieces import Pieces
from cmrgz.sending import device_of
from cmrgz.signals import StopFlag
from cmrgz.training.best import note
from cmrgz.training.folder import LOG, STEP, read_log
from cmrgz.training.frames import Batch, Frames
from cmrgz.training.options import TrainOptions
from cmrgz.training.ranks import Ranks
from cmrgz.training.resident import ResidentFrames
from cmrgz.training.shards import ALONE, give_gradients, own_items
from cmrgz.training.state import BAD_STEPS, State, save, trainable
from cmrgz.training.watch import Log, Watch

# Each figure that is asked of a GPU makes the host wait until all that is in flight is done.
LATE = 20
"""Steps after which a GPU is asked for the figures of all of them."""


class Figures(NamedTuple):
    """Loss and gradient norm of a step, as they are on the device."""

    loss: torch.Tensor
    norm: torch.Tensor

    @property
    def lost(self) -> torch.Tensor:
        """Whether one of them is not finite."""
        return ~(self.loss.isfinite() & self.norm.isfinite())


Validate = Callable[[State], dict[str, Any]]
Keep = Callable[[State], None]


def optimise(
    state: State, module: Trainable, batch: Batch, seed: int, options: TrainOptions, ranks: Ranks, pieces: Pieces
) -> Figures:
    """Take one step and return loss and gradient norm; a non-finite one leaves the weights as they are."""
    for group in state.optimizer.param_groups:
        group["lr"] = options.learning_rate(state.step)
    with pieces.in_use():
        loss = give_gradients(module, batch, seed, state.step, options.precision, options.shards, ranks)
    # Of the whole gradient, after the shards were added up: their number per process changes nothing.
    norm = nn.utils.clip_grad_norm_(trainable(module).values(), options.clip)
    figures = Figures(loss.reshape(()), norm)
    state.update(figures.lost, options.ema)
    return figures


def run(
    state: State,
    module: Trainable,
    frames: Frames | ResidentFrames,
    options: TrainOptions,
    folder: Path,
    key: str,
    seed: int,
    stop: StopFlag,
    validate: Validate,
    keep_early: Keep,
    keep_best: Keep,
    quiet: bool = True,
    watch: Log | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Train from `state.step` to the end, or until patience ends, logging every step and storing states on the way.

    Raises:
        DivergedError: `diverged`, after three non-finite steps in a row or no finite one at all, or where weights or
            figures of the validation are not finite; nothing of it is stored, the last stored state is good.
        Stopped: `stopped`, after a signal; the state is stored and the same call goes on.
    """
    if ranks.any("stopped" in state.figures):  # patience had ended, and then it died: its result is to be written
        return
    ended, pending, late = False, list[Figures](), 1 if device_of(module).type == "cpu" else LATE
    items, pieces = own_items(options.batch_size, options.shards, ranks), Pieces(options.compile)
    steps = range(state.step, options.steps)
    bar = tqdm(total=options.steps, initial=state.step, desc="training", unit="step", disable=quiet)
    with bar, _Log.of(folder, state, options, watch, ranks) as log:
        batches = frames.batches(seed, steps, items, options.workers)
        for batch in batches if log is None else log.watch.timed(batches):
            module.train()
            pending.append(optimise(state, module, batch, seed, options, ranks, pieces))
            step = state.step + 1
            bar.update()
            # Asked of all processes: a signal may reach one, and the others would wait for it in the next exchange.
            last, early, asked = step == options.steps, step == options.early, ranks.any(stop.asked)
            validated = last or step % options.validate_every == 0
            stored = last or asked or step % options.save_every == 0
            if not (validated or early or stored or len(pending) >= late):
                state.step = step
                continue
            # Judged before anything is kept: neither log nor state nor checkpoint takes over what a diverged step left.
            records, pending = _records(pending, step), []
            _count_bad(records, state, options, folder)
            state.step = step
            if (validated or early or stored) and not state.is_finite():
                raise _diverged("weights are not finite", state, options, folder)
            if validated and log is not None:
                state.figures = _figures(state, validate, options, folder)
                ended = note(state, options, keep_best)
                records[-1] |= state.figures
            if validated and ranks.any(ended):
                last = stored = True
            if early and log is not None:
                keep_early(state)
            bar.set_postfix(loss=str(records[-1]["loss"])[:6])
            if log is not None:
                log.note(records, last, validated or stored)
                if stored:
                    log.store(state, key)
            if last:
                break
            if asked:  # not with the last step: that run is done, and tells so
                raise Stopped("stopped", folder.name, f"stopped at step {step}", "", "run the same command again")


def _records(pending: Sequence[Figures], step: int) -> list[dict[str, Any]]:
    """Return the records of the last steps up to `step`; of a GPU all their figures are asked for at once."""
    flat = [part.reshape(()).double() for one in pending for part in one]
    told = torch.stack(flat).view(-1, 2).cpu().tolist()
    records = []
    for number, (loss, norm) in enumerate(told, step + 1 - len(told)):
        finite = math.isfinite(loss) and math.isfinite(norm)
        records.append({"step": number, "loss": loss if finite else None, "grad_norm": norm if finite else None})
    return records


def _count_bad(records: Sequence[Mapping[str, Any]], state: State, options: TrainOptions, folder: Path) -> None:
    """Count on how many of the last steps in a row were not finite; few are borne."""
    for record in records:
        state.bad = 0 if record["loss"] is not None else state.bad + 1
        if state.bad >= min(BAD_STEPS, options.steps):
            raise _diverged("the loss is not finite", state, options, folder)


def _figures(state: State, validate: Validate, options: TrainOptions, folder: Path) -> dict[str, Any]:
    """Return the figures of a validation, as a state gives them back."""
    figures = validate(state)
    if not _finite(figures):
        raise _diverged("the validation is not finite", state, options, folder)
    # By way of JSON, as a resumed run gets them: the lines of both must be equal as text.
    told: dict[str, Any] = json.loads(json.dumps(figures, sort_keys=True))
    return told


def _finite(figures: Any) -> bool:
    if isinstance(figures, Mapping | Sequence) and not isinstance(figures, str):
        return all(map(_finite, figures.values() if isinstance(figures, Mapping) else figures))
    return not isinstance(figures, float) or math.isfinite(figures)


def _diverged(what: str, state: State, options: TrainOptions, folder: Path) -> DivergedError:
    facts = f"step {state.step}, lr {options.learning_rate(state.step):.2g}"
    return DivergedError("diverged", folder.name, what, facts, "lower lr and start again in another folder")


class _Log:
    """The log of a run, in which a step that was logged before a death must come out the same again, and its watch."""

    def __init__(self, folder: Path, state: State, options: TrainOptions, watch: Log | None) -> None:
        self.folder, self.options, self.before = folder, options, read_log(folder, state.step)
        self.journal = Journal(folder / LOG, STEP)
        self.watch = Watch(folder, device_of(state.module), state.step, watch)

    @classmethod
    @contextmanager
    def of(
        cls, folder: Path, state: State, options: TrainOptions, watch: Log | None, ranks: Ranks
    ) -> "Iterator[_Log | None]":
        """Open the log of the first process; the others have none."""
        if not ranks.leads:
            yield None
            return
        log = cls(folder, state, options, watch)
        with log.journal, log.watch:
            yield log

    def store(self, state: State, key: str) -> None:
        """Store a state; the log is on the disk before it, since a state that is ahead of it is not held to it."""
        self.journal.sync()
        save(state, self.folder, key)

    def note(self, records: Sequence[dict[str, Any]], last: bool, whole: bool) -> None:
        """Append the records of steps.

        Args:
            records: Of the steps.
            last: The last one ends the run: it is to be on the disk.
            whole: The last one validates or stores.

        Raises:
            CheckpointError: `nondeterminism`.
        """
        for record in records:
            step, ends = record["step"], record is records[-1]
            before = self.before.get(step)
            if before is None:
                # Only the end waits for the disk: a line that is lost with the power is of a step that is taken again.
                self.journal.append(record, sync=last and ends)
            elif encode(record) != encode(before):  # as text, where NaN is NaN
                hint = "start in another folder"
                raise CheckpointError("nondeterminism", LOG, f"step {step} came out differently", "", hint)
            self.watch.tell(record, self.options.learning_rate(step - 1), whole and ends)
