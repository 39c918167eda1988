"""Which of the options that a user gives belong to the training, and which to the architecture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cmrgz import config as configs
from cmrgz import options, registry
from cmrgz.training.options import TrainOptions
from cmrgz.training.plan import find_spec


def read(name: str, config: Path | None, assignments: Sequence[str]) -> tuple[dict[str, Any], TrainOptions]:
    """Return (options of the architecture, options of the training) from a YAML file and `name=value` assignments.

    Raises:
        UsageError: An option is unknown, of a wrong type or out of range; the file is not plain YAML.
    """
    spec = find_spec(name)
    training = options.schema(TrainOptions)
    build = registry.build_schema(spec)
    declared = {**build, **training}
    given: dict[str, Any] = {}
    if config is not None:
        loaded = configs.load(config)
        given |= options.parse(loaded.values, declared, loaded.where)
    given |= options.parse(assignments, declared, "option --set")
    chosen = {key: value for key, value in given.items() if key in build}
    return chosen, TrainOptions(**{key: value for key, value in given.items() if key in training})
