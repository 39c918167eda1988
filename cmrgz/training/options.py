"""How to train: one dataclass, which is the schema of `cmrgz train --set` and of its YAML config, and how that is read.

The options of an architecture are given in the same place, and told from these by their names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from typing import Annotated, Any, Literal

from cmrgz import config, options, registry
from cmrgz.options import Range
from cmrgz.plugin import Spec

MOST = 10**9
"""Steps, more than any run has."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of a training run; the defaults suit a small model on a few thousand frames."""

    steps: Annotated[int, "optimiser steps", Range(1, MOST)] = 2000
    item: Annotated[
        tuple[int, ...] | None,
        "what a model sees: rows,columns, or phases,slices,rows,columns of at most so many; automatic: the model's own",
        Range(1),
    ] = None
    conditions: Annotated[
        tuple[str, ...], "what of a patient to learn to be told, of group, sex, ef and edv; each may be left out in use"
    ] = ()
    batch_size: Annotated[int, "items per step, each a frame or a block", Range(1, 1 << 16)] = 16
    shards: Annotated[
        int, "parts of a batch whose gradients are added up: less memory, or as many processes", Range(1, 1 << 16)
    ] = 1
    lr: Annotated[float, "peak learning rate", Range(1e-12)] = 1e-3
    warmup: Annotated[int, "steps of linear warm-up, then cosine to zero", Range(0, MOST)] = 100
    weight_decay: Annotated[float, "of matrices; vectors have none", Range(0)] = 0.05
    clip: Annotated[float, "largest gradient norm", Range(1e-12)] = 1.0
    ema: Annotated[float, "decay of the averaged weights, which are the ones that are kept", Range(0, 1)] = 0.999
    precision: Annotated[Literal["fp32", "bf16"], "arithmetic of the forward pass"] = "fp32"
    compile: Annotated[
        bool, "let torch.compile write the kernels of the network: minutes at the start, then often faster steps"
    ] = False
    save_every: Annotated[int, "steps between resumable states", Range(1, MOST)] = 200
    validate_every: Annotated[int, "steps between validations", Range(1, MOST)] = 500
    augment: Annotated[float, "strength of turning, scaling and shading of half of the items", Range(0, 5)] = 1.0
    early: Annotated[
        int, "step whose averaged weights are kept in OUTPUT/early, as a guide; 0 is none", Range(0, MOST)
    ] = 0
    keep: Annotated[
        Literal["last", "best"], "whose weights are the result: of the last step, or of the best validation loss"
    ] = "last"
    patience: Annotated[
        int,
        "validations without a better loss after which training stops, best weights in OUTPUT/best; 0 is none",
        Range(0, MOST),
    ] = 0
    workers: Annotated[
        int,
        "processes, without a bank threads, that make items beside the training; results do not depend on it",
        Range(0, 256),
    ] = 0
    validation_items: Annotated[
        int, "frames per held-out patient, of blocks at least four blocks", Range(1, 1 << 16)
    ] = 16
    fit_items: Annotated[int, "frames for what has a closed form, alone or in blocks", Range(1, 1 << 20)] = 512

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        # From step + 1, or the first step would move nothing. Then a cosine (Loshchilov and Hutter, SGDR, ICLR 2017).
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        return self.lr * 0.5 * (1 + cos(pi * (step - self.warmup) / max(self.steps - self.warmup, 1)))


def read(spec: Spec, file: Path | None, assignments: Sequence[str]) -> tuple[dict[str, Any], TrainOptions]:
    """Return (options of the architecture, options of the training) from a YAML file and `name=value` assignments.

    Raises:
        UsageError: An option is unknown, of a wrong type or out of range; the file is not plain YAML.
    """
    training = options.schema(TrainOptions)
    build = registry.build_schema(spec)
    declared = {**build, **training}
    given: dict[str, Any] = {}
    if file is not None:
        loaded = config.load(file)
        given |= options.parse(loaded.values, declared, loaded.where)
    given |= options.parse(assignments, declared, "option --set")
    chosen = {key: value for key, value in given.items() if key in build}
    return chosen, TrainOptions(**{key: value for key, value in given.items() if key in training})
