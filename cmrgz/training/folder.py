"""The folder of a run: which run it holds, whether that is done, and its log.

RUN/config.json     all that the result depends on, and its hash, the key of the run
RUN/log.jsonl       a line a step; checksummed, append only
RUN/speed.jsonl     items a second and peak memory now and then; of the machine, and no part of the run
RUN/tensorboard     curves, where they are asked for
RUN/state-STEP      the last two resumable states
RUN/checkpoint      the result
RUN/early           the weights of a step that was asked for
RUN/best            the best weights so far, where they are asked for
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from cmrgz import records
from cmrgz.durable import atomic_write, exists, read_journal, read_record
from cmrgz.errors import CheckpointError, warn
from cmrgz.meta import Meta, check_folder
from cmrgz.training.state import last_figures

CONFIG, LOG, CHECKPOINT = "config.json", "log.jsonl", "checkpoint"
STEP = {
    "step": records.natural,
    "loss": records.optional(records.number),
    "grad_norm": records.optional(records.number),
}
"""What a line of the log has, beside the figures of a validation."""
DESCRIBED = ("kind", "name", "package", "options", "axes", "item", "spacing", "conditions", "dtype")
"""What the meta of a run's checkpoint says whatever the version that wrote it."""


def key_of(config: Mapping[str, Any]) -> str:
    """Return the hash of a config in JSON's types."""
    return sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def claim(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the run's config, or check that the folder holds this very run.

    Args:
        folder: Of the run.
        config: All that its result depends on, in JSON's types.

    Raises:
        CheckpointError: `config-mismatch`, naming what differs; `header` or `hash` where the file is damaged.
        ResourceError: As `durable.atomic_write`.
    """
    path, key = folder / CONFIG, key_of(config)
    if not exists(path):
        atomic_write(path, json.dumps({"key": key, **config}, indent=1).encode())
        return
    stored = read_record(path, {"key": records.sha256})
    # A config that was edited by hand would pass for that of the run, and its result for what it is not.
    if (before := stored.pop("key")) != key_of(stored):
        hint = "restore it, or remove it: it is written anew"
        raise CheckpointError("hash", str(path), "is not what the run wrote", hint=hint)
    if before != key:
        differing = [name for name, value in config.items() if stored.get(name) != value]
        hint = "use another --output folder"
        raise CheckpointError("config-mismatch", str(folder), "holds another run", f"differs: {differing}", hint)


def finished(folder: Path, expected: Meta, key: str, steps: int) -> bool:
    """Return whether a run is done. A checkpoint that is damaged is told, and is to be written anew.

    Args:
        folder: Of the run.
        expected: What the checkpoint must say of itself; `training` without the figures.
        key: Of the run.
        steps: Lines that its log must have.

    Raises:
        CheckpointError: The checkpoint is damaged, and no state is left to write it from; `config-mismatch`.
    """
    target = folder / CHECKPOINT
    if not exists(target):
        return False
    # Told by the state, not by the checkpoint: that is what is being judged.
    figures = last_figures(folder, key, expected.training["train"]["keep"])
    try:
        _check(target, expected, figures or {})
    except CheckpointError as error:
        if figures is None:
            raise
        warn(error.code, error.where, f"{error.what}; the checkpoint is written anew", error.facts)
        return False
    _check_log(folder, (figures or {}).get("stopped", steps))
    return True


def _check(target: Path, expected: Meta, figures: Mapping[str, Any]) -> None:
    meta = check_folder(target)
    odd = [name for name in DESCRIBED if _text(getattr(meta, name)) != _text(getattr(expected, name))]
    training = {**expected.training, **figures}
    odd += [name for name in training if _text(meta.training.get(name)) != _text(training[name])]
    if odd:
        raise CheckpointError("config-mismatch", str(target), "is not what the run wrote", f"differs: {odd[:3]}")


def _text(value: Any) -> str:
    """Return a value as JSON, where a tuple is a list."""
    return json.dumps(value, sort_keys=True)


def _check_log(folder: Path, steps: int) -> None:
    try:
        read_log(folder, steps)
    except CheckpointError as error:  # the result is good
        warn(error.code, error.where, error.what, error.facts)


def read_log(folder: Path, steps: int) -> dict[int, dict[str, Any]]:
    """Return the lines of a run's log by step, and warn where some of the first `steps` are lost.

    Raises:
        CheckpointError: `log-corrupt`; where is `path:line`.
        ResourceError: `permission` or `io`.
    """
    logged = {record["step"]: record for record in read_journal(folder / LOG, STEP)}
    lost = sum(step not in logged for step in range(1, steps + 1))
    if lost:
        warn("log-cut", str(folder / LOG), "was cut or removed: steps are missing for good", f"{lost} of {steps}")
    return logged
