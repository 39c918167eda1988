"""What can be told of a model before it takes any memory: its options are checked against each other."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from cmrgz.errors import CheckpointError, PluginError
from cmrgz.meta import Meta

N = TypeVar("N", bound=nn.Module)


def check_grid(meta: Meta, patch: int, where: str) -> None:
    """Compare the positions that a model is built for, where it is built for some, with its items.

    Raises:
        CheckpointError: `config-mismatch`.
    """
    grid, fitting = meta.options.get("grid"), [n // patch for n in meta.item[-2:]]
    if grid is not None and grid != fitting:
        what = f"'grid' does not fit an item of {meta.item[-2]} x {meta.item[-1]}"
        facts = f"patches of {patch}: {fitting[0]},{fitting[1]}"
        raise CheckpointError("config-mismatch", where, what, facts)


def check_options(build: Callable[[], N]) -> N | None:
    """Build a module on the meta device, where it takes no memory: a builder checks its options against each other.

    Returns:
        The module, or None where its builder computes with values, which the meta device has not.

    Raises:
        UsageError: An option is wrong.
    """
    try:
        # A builder may also draw numbers on the CPU, which must not move the caller's random state.
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return build()
    except PluginError:
        return None
