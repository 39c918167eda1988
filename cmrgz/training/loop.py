"""The training loop, the same for tokenizers and models."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from cmrgz.durable import Journal, encode
from cmrgz.errors import CheckpointError, DivergedError, Stopped
from cmrgz.model import Trainable
from cmrgz.signals import StopFlag
from cmrgz.training.folder import LOG, STEP, read_log
from cmrgz.training.frames import Batch, Frames
from cmrgz.training.options import TrainOptions
from cmrgz.training.ranks import Ranks
from cmrgz.training.shards import ALONE, give_gradients, own_items
from cmrgz.training.state import State, save, trainable

BAD_STEPS = 3
"""Non-finite steps in a row after which training stops."""

Validate = Callable[[State], dict[str, Any]]
Keep = Callable[[State], None]


def optimise(
    state: State, module: Trainable, batch: Batch, seed: int, options: TrainOptions, ranks: Ranks = ALONE
) -> tuple[float, float]:
    """Take one step and return (loss, gradient norm); a non-finite one leaves the weights as they are."""
    for group in state.optimizer.param_groups:
        group["lr"] = options.learning_rate(state.step)
    loss = give_gradients(module, batch, seed, state.step, options.precision, options.shards, ranks)
    norm = float(nn.utils.clip_grad_norm_(trainable(module).values(), options.clip))
    value = float(loss)
    if math.isfinite(value) and math.isfinite(norm):
        state.optimizer.step()
        state.update_average(options.ema)
    return value, norm


def run(
    state: State,
    module: Trainable,
    frames: Frames,
    options: TrainOptions,
    folder: Path,
    key: str,
    seed: int,
    stop: StopFlag,
    validate: Validate,
    keep_early: Keep,
    quiet: bool = True,
    ranks: Ranks = ALONE,
) -> None:
    """Train from `state.step` to the end, logging every step and storing states on the way.

    Raises:
        DivergedError: `diverged`, after three non-finite steps in a row or no finite one at all, or where weights or
            figures of the validation are not finite; nothing of it is stored, the last stored state is good.
        Stopped: `stopped`, after a signal; the state is stored and the same call goes on.
    """
    bad = 0
    items = own_items(options.batch_size, options.shards, ranks)
    bar = tqdm(total=options.steps, initial=state.step, desc="training", unit="step", disable=quiet)
    with bar, _Log.of(folder, state.step, ranks) as log:
        steps = range(state.step, options.steps)
        for batch in frames.batches(seed, steps, items, options.workers):
            module.train()
            loss, norm = optimise(state, module, batch, seed, options, ranks)
            finite = math.isfinite(loss) and math.isfinite(norm)
            bad = 0 if finite else bad + 1
            if bad >= min(BAD_STEPS, options.steps):
                raise _diverged("the loss is not finite", state, options, folder)
            state.step += 1
            record = {"step": state.step, "loss": loss if finite else None, "grad_norm": norm if finite else None}
            last = state.step == options.steps
            validated = last or state.step % options.validate_every == 0
            early = state.step == options.early
            if validated and log is not None:
                _check_weights(state, options, folder)
                state.figures = _figures(validate, state, options, folder)
                record |= state.figures
            if early and log is not None:
                _check_weights(state, options, folder)
                keep_early(state)
            asked = ranks.any(stop.asked)
            stored = last or asked or state.step % options.save_every == 0
            if stored:
                _check_weights(state, options, folder)
            if log is not None:
                log.note(record, last)
            bar.update()
            bar.set_postfix(loss=f"{loss:.4f}")
            if stored and log is not None:
                log.journal.sync()
                save(state, folder, key)
            if asked and not last:
                what = f"stopped at step {state.step}"
                raise Stopped("stopped", folder.name, what, "", "run the same command again")


def _check_weights(state: State, options: TrainOptions, folder: Path) -> None:
    if not state.is_finite():
        raise _diverged("weights are not finite", state, options, folder)


def _figures(validate: Validate, state: State, options: TrainOptions, folder: Path) -> dict[str, Any]:
    """Return the figures of a validation as a state gives them back."""
    figures = validate(state)
    if not _finite(figures):
        raise _diverged("the validation is not finite", state, options, folder)
    plain: dict[str, Any] = json.loads(json.dumps(figures, sort_keys=True))
    return plain


def _finite(figures: Any) -> bool:
    if isinstance(figures, Mapping | Sequence) and not isinstance(figures, str):
        return all(map(_finite, figures.values() if isinstance(figures, Mapping) else figures))
    return not isinstance(figures, float) or math.isfinite(figures)


def _diverged(what: str, state: State, options: TrainOptions, folder: Path) -> DivergedError:
    facts = f"step {state.step}, lr {options.learning_rate(state.step):.2g}"
    return DivergedError("diverged", folder.name, what, facts, "lower lr and start again in another folder")


class _Log:
    """The log of a run, in which a step that was logged before a death must come out the same again."""

    def __init__(self, folder: Path, step: int) -> None:
        self.before = read_log(folder, step)
        self.journal = Journal(folder / LOG, STEP)

    @classmethod
    @contextmanager
    def of(cls, folder: Path, step: int, ranks: Ranks) -> "Iterator[_Log | None]":
        """Open the log of the first process; the others have none."""
        log = cls(folder, step) if ranks.leads else None
        try:
            yield log
        finally:
            if log is not None:
                log.journal.close()

    def note(self, record: dict[str, Any], sync: bool) -> None:
        """Append the record of a step.

        Raises:
            CheckpointError: `nondeterminism`.
        """
        before = self.before.get(record["step"])
        if before is None:
            self.journal.append(record, sync=sync)
        elif encode(record) != encode(before):  # as text, where NaN is NaN
            hint = "start in another folder"
            raise CheckpointError("nondeterminism", LOG, f"step {record['step']} came out differently", "", hint)
