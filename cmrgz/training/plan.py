"""What to train, on what, and what to start from."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from cmrgz import checkpoint, options, registry
from cmrgz.durable import is_folder
from cmrgz.errors import CheckpointError, UsageError, did_you_mean, warn
from cmrgz.meta import TOKENIZER, Meta
from cmrgz.model import Model, Tokenizer, Trainable
from cmrgz.plugin import Extent, Spec
from cmrgz.training.options import TrainOptions
from cmrgz.training.state import trainable


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to train, on what, and where to.

    Attributes:
        name: Registered name of a model or a tokenizer.
        output: Folder of the run; a run that is there is continued.
        data: Data sets, each an equal share of the items, or a share from `shares`; none is the built-in phantom.
        shares: Weight of each data set.
        validation: Data sets to validate on; none holds out a tenth of the patients of each data set.
        tokenizer: Name or checkpoint of the tokenizer; None is the one that the model names.
        start: Name or checkpoint whose weights to start from; None starts anew.
        build: Options of the architecture.
        train: Options of the training.
        seed: Seed of everything.
        device: Where to compute.
        dtype: Of the stored weights.
        axes: What each axis of the files is, see `cmrgz.data.axes`; None to decide it from each header.
        processes: That render built-in phantoms. More than one import the main module of the program anew, which must
            then be guarded by `if __name__ == "__main__"`.
        log: Where to show curves beside the log, if anywhere; the result does not depend on it.
    """

    name: str
    output: Path
    data: Sequence[str] = ()
    shares: Sequence[float] = ()
    validation: Sequence[str] = ()
    tokenizer: str | None = None
    start: str | None = None
    build: Mapping[str, Any] = field(default_factory=dict)
    train: TrainOptions = field(default_factory=TrainOptions)
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    axes: str | None = None
    processes: int = 1
    log: Literal["tensorboard"] | None = None


def find_spec(name: str) -> Spec:
    """Return the spec of a model or tokenizer.

    Raises:
        UsageError: `unknown-plugin`.
        PluginError: It is broken.
    """
    models, tokenizers = registry.models(), registry.tokenizers()
    if (model := registry.find(name, models)) is not None:
        return model.require()
    if (tokenizer := registry.find(name, tokenizers)) is not None:
        return tokenizer.require()
    hint = did_you_mean(name, [*models, *tokenizers])
    raise UsageError("unknown-plugin", name, "no such model or tokenizer", hint=hint)


@dataclass(frozen=True)
class Start:
    """A checkpoint that training starts from."""

    where: str
    module: Model | Tokenizer
    meta: Meta

    def check_tokenizer(self, meta: Meta | None) -> None:
        """Check that the run's tokenizer is the one that these weights were trained with.

        Raises:
            CheckpointError: `hash`.
        """
        link = self.meta.tokenizer
        if link is not None and (meta is None or meta.sha256 != link.sha256):
            raise CheckpointError("hash", self.where, f"was trained with another tokenizer '{link.name}'")

    def give(self, module: Trainable, extent: Extent) -> bool:
        """Give a module these weights, and return whether it is whole with them.

        A module for items of other axes gets those of its trained weights that have the same name and shape, with a
        warning: what it has besides starts anew, and so does what has a closed form.

        Raises:
            CheckpointError: `config-mismatch`: they are of other shapes.
        """
        if self.meta.axes != extent.axes:
            self._give_shared(module)
            return False
        try:
            module.load_state_dict(self.module.state_dict())
        except RuntimeError:
            stored, asked = (",".join(map(str, item)) for item in (self.meta.item, extent.item))
            what = f"its weights do not fit items of {asked}"
            raise CheckpointError("config-mismatch", self.where, what, f"made for {stored}") from None
        return True

    @torch.no_grad()
    def _give_shared(self, module: Trainable) -> None:
        own, stored = trainable(module), trainable(self.module)
        shared = [name for name, p in own.items() if name in stored and stored[name].shape == p.shape]
        # With no weight in common it would be a start anew that looks like none.
        if not shared:
            axes = f"{''.join(self.meta.axes)} in the checkpoint"
            raise CheckpointError("config-mismatch", self.where, "has no weights for items of these axes", axes)
        for name in shared:
            own[name].copy_(stored[name])
        facts = f"{len(own) - len(shared)} of {len(own)} weights"
        warn("partial-start", self.where, "was made for items of other axes, what it lacks starts anew", facts)


def starting_from(plan: Plan, spec: Spec) -> tuple[Plan, Start | None]:
    """Return the plan with the architecture and tokenizer of what it starts from, and that.

    Raises:
        UsageError: `usage` where it is another model, or an option differs that is not of the loss alone. Where items
            of other axes are asked for, options may differ: only weights that fit are taken.
        CheckpointError: As `checkpoint.load`.
    """
    if plan.start is None:
        return plan, None
    module, meta = checkpoint.open_kind(spec.kind, plan.start, plan.device)
    if meta.name != spec.name:
        raise UsageError("usage", "option --start", f"expected weights of '{spec.name}', got those of '{meta.name}'")
    schema = registry.build_schema(spec)
    build = options.complete(meta.options, schema)
    whole = plan.build.get("axes", build.get("axes")) == build.get("axes")
    for name, value in plan.build.items():
        stored = build[name]
        if whole and not schema[name].of_loss and value != (tuple(stored) if isinstance(stored, list) else stored):
            facts = f"{stored} in {plan.start}, {value} asked for"
            raise UsageError("usage", "option --set", f"'{name}' differs from what training starts from", facts)
    # A checkpoint has its tokenizer with it; what has its name here may be another one.
    inner = Path(plan.start) / TOKENIZER
    tokenizer = plan.tokenizer or (str(inner) if is_folder(inner) else None)
    build |= plan.build
    return dataclasses.replace(plan, build=build, tokenizer=tokenizer), Start(plan.start, module, meta)
