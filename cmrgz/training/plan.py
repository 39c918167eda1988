"""What to train, on what, and what to start from."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cmrgz import checkpoint, registry
from cmrgz.errors import CheckpointError, UsageError, did_you_mean
from cmrgz.meta import Meta
from cmrgz.model import Model, Tokenizer
from cmrgz.plugin import ModelSpec, TokenizerSpec
from cmrgz.training.options import TrainOptions

Spec = ModelSpec | TokenizerSpec


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


def starting_from(plan: Plan, spec: Spec) -> tuple[Plan, Start | None]:
    """Return the plan with the architecture and tokenizer of what it starts from, and that.

    Raises:
        UsageError: `usage` where it is another model, or an option of the architecture differs from it.
        CheckpointError: As `checkpoint.load`.
    """
    if plan.start is None:
        return plan, None
    opened = checkpoint.open_model if isinstance(spec, ModelSpec) else checkpoint.open_tokenizer
    module, meta = opened(plan.start, plan.device)
    if meta.name != spec.name:
        raise UsageError("usage", "option --start", f"expected weights of '{spec.name}', got those of '{meta.name}'")
    for name, value in plan.build.items():
        stored = meta.options[name]
        if value != (tuple(stored) if isinstance(stored, list) else stored):
            facts = f"{stored} in {plan.start}, {value} asked for"
            raise UsageError("usage", "option --set", f"'{name}' differs from what training starts from", facts)
    inner = Path(plan.start) / checkpoint.TOKENIZER
    tokenizer = plan.tokenizer or (str(inner) if inner.is_dir() else None)
    return dataclasses.replace(plan, build=meta.options, tokenizer=tokenizer), Start(plan.start, module, meta)
