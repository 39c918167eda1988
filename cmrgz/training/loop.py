"""The training loop, the same for tokenizers and models."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from cmrgz.durable import Journal, encode
from cmrgz.errors import CheckpointError, DivergedError, PluginError, Stopped, of_a_plugin
from cmrgz.model import Trainable
from cmrgz.rng import Streams, derive
from cmrgz.signals import StopFlag
from cmrgz.training.folder import LOG, STEP, read_log
from cmrgz.training.frames import Batch, Frames
from cmrgz.training.options import TrainOptions
from cmrgz.training.state import State, save, trainable

BAD_STEPS = 3
"""Non-finite steps in a row after which training stops."""

Validate = Callable[[State], dict[str, Any]]
Keep = Callable[[State], None]


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context of a forward pass at `precision`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def step_loss(module: Trainable, batch: Batch, seed: int, step: int, precision: str) -> torch.Tensor:
    """Return the loss of a step, a function of the weights and (seed, step) alone."""
    device = next(module.parameters()).device
    rng = Streams(seed, [("loss", step, i) for i in range(len(batch.x))])
    condition = {name: value.to(device) for name, value in batch.condition.items()}
    torch.manual_seed(derive(seed, "dropout", step))
    with of_a_plugin("loss", "failed"), autocast(device, precision):
        loss = module.loss(batch.x.to(device), condition=condition, rng=rng)
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
        what = "must be one number with a gradient"
        raise PluginError("plugin-output", "loss", what, f"got {type(loss).__name__}")
    return loss


def optimise(state: State, module: Trainable, batch: Batch, seed: int, options: TrainOptions) -> tuple[float, float]:
    """Take one step and return (loss, gradient norm); a non-finite one leaves the weights as they are."""
    for group in state.optimizer.param_groups:
        group["lr"] = options.learning_rate(state.step)
    loss = step_loss(module, batch, seed, state.step, options.precision)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = float(nn.utils.clip_grad_norm_(trainable(module).values(), options.clip))
    value = float(loss.detach())
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
) -> None:
    """Train from `state.step` to the end, logging every step and storing states on the way.

    Raises:
        DivergedError: `diverged`, after three non-finite steps in a row or no finite one at all, or where weights or
            figures of the validation are not finite; nothing of it is stored, the last stored state is good.
        Stopped: `stopped`, after a signal; the state is stored and the same call goes on.
    """
    bad = 0
    logged = read_log(folder, state.step)
    bar = tqdm(total=options.steps, initial=state.step, desc="training", unit="step", disable=quiet)
    with bar, Journal(folder / LOG, STEP) as log:
        steps = range(state.step, options.steps)
        for batch in frames.batches(seed, steps, options.batch_size, options.workers):
            module.train()
            loss, norm = optimise(state, module, batch, seed, options)
            finite = math.isfinite(loss) and math.isfinite(norm)
            bad = 0 if finite else bad + 1
            if bad >= min(BAD_STEPS, options.steps):
                raise _diverged("the loss is not finite", state, options, folder)
            state.step += 1
            record = {"step": state.step, "loss": loss if finite else None, "grad_norm": norm if finite else None}
            last = state.step == options.steps
            validated = last or state.step % options.validate_every == 0
            early = state.step == options.early
            stored = last or stop.asked or state.step % options.save_every == 0
            if (validated or early or stored) and not state.is_finite():
                raise _diverged("weights are not finite", state, options, folder)
            if validated:
                figures = validate(state)
                if not _finite(figures):
                    raise _diverged("the validation is not finite", state, options, folder)
                state.figures = json.loads(json.dumps(figures, sort_keys=True))  # as a state gives them back
                record |= state.figures
            if early:
                keep_early(state)
            if stop.asked and not stored:
                stored = state.is_finite()
            _log(log, record, logged.get(state.step), last)
            bar.update()
            bar.set_postfix(loss=f"{loss:.4f}")
            if stored:
                log.sync()
                save(state, folder, key)
                if stop.asked and not last:
                    what = f"stopped at step {state.step}"
                    raise Stopped("stopped", folder.name, what, "", "run the same command again")


def _finite(figures: Any) -> bool:
    if isinstance(figures, Mapping | Sequence) and not isinstance(figures, str):
        return all(map(_finite, figures.values() if isinstance(figures, Mapping) else figures))
    return not isinstance(figures, float) or math.isfinite(figures)


def _diverged(what: str, state: State, options: TrainOptions, folder: Path) -> DivergedError:
    facts = f"step {state.step}, lr {options.learning_rate(state.step):.2g}"
    return DivergedError("diverged", folder.name, what, facts, "lower lr and start again in another folder")


def _log(log: Journal, record: dict[str, Any], before: dict[str, Any] | None, sync: bool) -> None:
    """Append the record of a step; one that was logged before a death must come out the same again.

    Raises:
        CheckpointError: `nondeterminism`.
    """
    if before is None:
        log.append(record, sync=sync)
    elif encode(record) != encode(before):  # as text, where NaN is NaN
        hint = "start in another folder"
        raise CheckpointError("nondeterminism", LOG, f"step {record['step']} came out differently", "", hint)
