"""A model that was chosen and checked, but not loaded."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from cmrgz import checkpoint, options, registry
from cmrgz.arithmetic import Precision
from cmrgz.calls import Setting
from cmrgz.errors import UsageError
from cmrgz.meta import Meta
from cmrgz.model import Model
from cmrgz.options import Option
from cmrgz.scans import asked
from cmrgz.scans.asked import Asked

PRECISION = Option("precision", Precision, "fp32", "of the networks; bf16 is fast on a GPU, and other bits")
"""An option of all models, in which the core has their networks computed; recorded with their own."""


@dataclass(frozen=True)
class Chosen:
    """A model with all that it is told, checked against what it takes.

    Attributes:
        target: A registered name or a checkpoint folder.
        meta: What its checkpoint says.
        options: All of its sampling options that take effect; `precision` beside them where it is not the usual one.
        asked: Conditions of patients, and values that replace those of a scan.
        device: Where to compute.
        batch_size: Items in flight, or None.
        guide: A weaker checkpoint of the same model that guides its sampling, or None.
        precision: In which its networks compute.
    """

    target: str
    meta: Meta
    options: Mapping[str, Any]
    asked: Asked
    device: str = "cpu"
    batch_size: int | None = None
    guide: str | None = None
    precision: Precision = "fp32"

    @classmethod
    def of(
        cls,
        target: str,
        assignments: Iterable[str] = (),
        conditions: Iterable[str] = (),
        device: str = "cpu",
        batch_size: int | None = None,
        guide: str | None = None,
        spread: bool = False,
    ) -> "Chosen":
        """Check a choice without loading any weights.

        Args:
            target: A registered name or a checkpoint folder.
            assignments: Sampling options as `name=value`; every model takes `precision`.
            conditions: Conditions as `name=value`.
            device: Where to compute.
            batch_size: Items in flight.
            guide: A weaker checkpoint of the same model, or None.
            spread: Whether conditions may differ from scan to scan.

        Raises:
            UsageError: `unknown-plugin`, or for an option or a condition that the model does not take.
            CheckpointError: There is no such checkpoint, or it does not fit what is installed.
            PluginError: The plugin is broken.
        """
        meta = checkpoint.peek_model(target)
        spec = registry.get_model(meta.qualified)
        schema = registry.sample_schema(spec)
        given = options.parse(assignments, {PRECISION.name: PRECISION, **schema}, "option --set")
        condition = asked.parse(conditions, spec.conditions, meta, spread)
        kind = registry.model_class(spec)
        complete = options.effective(given, schema, partial(kind.settled, meta.options), "option --set")
        # A model that has an option of this name means its own by it, and the core leaves it alone.
        precision = PRECISION.default if PRECISION.name in schema else given.get(PRECISION.name, PRECISION.default)
        kind.check_options(meta.options, complete)
        if guide is not None:
            _check_guide(guide, meta, kind)
        # The usual one is not told, so that results and addresses of cells from before there was the option stay
        # valid.
        told = complete | ({PRECISION.name: precision} if precision != PRECISION.default else {})
        return cls(target, meta, told, condition, device, batch_size, guide, precision)

    @property
    def guide_sha256(self) -> str | None:
        """Hash of the guide's weights."""
        return None if self.guide is None else checkpoint.peek_model(self.guide).sha256

    def open(self) -> Model:
        """Load the weights.

        Raises:
            CheckpointError: The checkpoint was damaged.
            PluginError: The plugin is broken.
        """
        model = checkpoint.open_model(self.target, self.device)[0]
        if self.guide is not None:
            model.guided_by(checkpoint.open_model(self.guide, self.device)[0])
        return model

    def setting(self, seed: int, samples: int, first: int = 0, antithetic: bool = False) -> Setting:
        """Return how to draw `samples` samples, from number `first` on, independent or in antithetic pairs."""
        ours = {PRECISION.name} if self.precision != PRECISION.default else set()
        return Setting(
            seed=seed,
            samples=samples,
            options={name: value for name, value in self.options.items() if name not in ours},
            precision=self.precision,
            condition=self.asked.told(first, samples),
            batch_size=self.batch_size,
            first=first,
            antithetic=antithetic,
        )


def _check_guide(guide: str, meta: Meta, kind: type[Model]) -> None:
    """Check that a model can be guided, and by this checkpoint.

    Raises:
        UsageError: `usage`.
    """
    # Asked of the class: that a model takes no guide can be told before its weights are read.
    if kind.guided_by is Model.guided_by:
        raise UsageError("usage", "option --guide", f"'{meta.name}' takes no guide")
    other = checkpoint.peek_model(guide)
    ours, theirs = (m.tokenizer.sha256 if m.tokenizer else None for m in (meta, other))
    # A guide predicts vectors of the same first stage, or their difference would mean nothing.
    if other.name != meta.name or ours != theirs:
        facts = f"'{other.name}' guides '{meta.name}'" if other.name != meta.name else "their tokenizers differ"
        raise UsageError("usage", "option --guide", "must be a checkpoint of the same model", facts)
    if any(
        meta.conditions[name] != other.conditions[name] for name in meta.conditions.keys() & other.conditions.keys()
    ):
        what = "must know the values of conditions in the order of the model that it guides"
        raise UsageError("usage", "option --guide", what)
