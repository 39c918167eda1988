"""What the items of a run are: asked for, of the weights that it starts from, or the model's own; checked, one line."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, get_args

from cmrgz import registry
from cmrgz.errors import UsageError
from cmrgz.options import Option
from cmrgz.plugin import AXES, Extent, Spec
from cmrgz.training.options import TrainOptions
from cmrgz.training.plan import Plan

FEWEST = 8
"""Least rows and columns of an item that is trained on."""
TOGETHER = 2**31
"""Most voxels of all items of a step, and of those for what has a closed form: 8 GiB."""


def extent_of(axes: str | None, item: tuple[int, ...] | None, base: Extent) -> Extent:
    """Return what was asked for; what was not is that of `base`.

    Args:
        axes: Asked for, or None.
        item: Asked for, or None.
        base: Of the model, or of the weights that training starts from.

    Raises:
        UsageError: `usage` where axes and item do not go together; `range` for items of a size that is of no use.
    """
    if item is None:
        item = _part_of(base, axes or "".join(base.axes))
    axes = axes or _axes(len(item), base)
    if len(axes) != len(item):
        what = f"axes {axes} need {len(axes)} numbers, got {','.join(map(str, item))}"
        raise UsageError("usage", "option item", what)
    extent = Extent(tuple(axes), item, base.spacing)
    if fault := extent.out_of_bounds(FEWEST):
        raise UsageError("range", "option item", fault)
    return extent


def check_together(options: TrainOptions, extent: Extent) -> None:
    """Refuse more items at once than any memory holds, and a batch that its shards do not divide.

    Raises:
        UsageError: `range`.
    """
    if options.batch_size % options.shards:
        facts = f"batch_size is {options.batch_size}, shards is {options.shards}"
        raise UsageError("range", "option shards", "must divide the batch", facts)
    frames = math.prod(extent.plane)
    for name, number, each in (
        ("batch_size", options.batch_size, math.prod(extent.item)),
        ("fit_items", options.fit_items, frames),
        ("validation_items", options.validation_items, frames),
    ):
        if number * each > TOGETHER:
            facts = f"{number} of {each} voxels"
            raise UsageError("range", f"option {name}", f"must be at most {TOGETHER // each}", facts)


def _part_of(base: Extent, axes: str) -> tuple[int, ...]:
    """Return the lengths of some axes of an extent."""
    if not set(axes) <= set(base.axes):
        what = f"axes {axes} need an item, the model's is {','.join(map(str, base.item))}"
        raise UsageError("usage", "option axes", what, hint=f"add --set item={','.join('N' * len(axes))}")
    return tuple(base.item[base.axes.index(axis)] for axis in axes)


def _axes(length: int, base: Extent) -> str:
    """Return the axes of items that have so many numbers."""
    possible = [axes for axes in AXES if len(axes) == length]
    # The model's own axes where they have as many numbers: three alone may be phases or slices.
    if "".join(base.axes) in possible:
        return "".join(base.axes)
    if len(possible) == 1:
        return possible[0]
    if not possible:
        raise UsageError("usage", "option item", "must be rows,columns or phases,slices,rows,columns")
    what = "three numbers are phases,rows,columns or slices,rows,columns"
    raise UsageError("usage", "option item", what, hint=f"add --set axes={' or axes='.join(possible)}")


def settled(plan: Plan, spec: Spec, extent: Extent, patch: int | None) -> Plan:
    """Return the plan with the options of the architecture that follow from the items: `axes` and `grid`.

    Args:
        plan: Its `grid`, if there is one, was asked for.
        spec: What is trained.
        extent: Of its items.
        patch: Edge of the tokenizer's patches in pixels; None for a model without one.

    Raises:
        UsageError: `usage`: the family does not take items of these axes; the item is not of whole patches; `grid` does
            not fit.
    """
    schema = registry.build_schema(spec)
    free = spec.kind == "model" and "axes" in schema
    axes, build = "".join(extent.axes), dict(plan.build)
    choices = get_args(schema["axes"].type) if free else ("".join(spec.axes),)
    if axes not in choices:
        item, allowed = ",".join(map(str, extent.item)), " or ".join(choices)
        raise UsageError("usage", "option item", f"'{spec.name}' takes items of axes {allowed} only", f"{axes} {item}")
    if free:
        # Written out though it may be the default: the checkpoint is read by it, whatever a later default says.
        build["axes"] = axes
    patch = patch or _own_patch(build, schema)
    if any(length % patch for length in extent.plane):
        what = f"rows and columns must be multiples of {patch}, the edge of a patch"
        raise UsageError("range", "option item", what, f"got {extent.plane[0]} x {extent.plane[1]}")
    if "grid" in schema and spec.tokenizer is not None:
        build["grid"] = _grid(build, (extent.plane[0] // patch, extent.plane[1] // patch), patch)
    return dataclasses.replace(plan, build=build)


def _own_patch(build: Mapping[str, Any], schema: Mapping[str, Option]) -> int:
    """Return the edge of a patch of a tokenizer that is to be built; 1 where it has no such option."""
    patch = build.get("patch", schema["patch"].default if "patch" in schema else 1)
    return patch if isinstance(patch, int) else 1


def _grid(build: Mapping[str, Any], fitting: tuple[int, int], patch: int) -> tuple[int, int]:
    grid = tuple(build.get("grid", fitting))
    if grid != fitting:
        rows, columns = fitting
        facts = f"item {rows * patch} x {columns * patch}, patches of {patch}: {rows},{columns}"
        raise UsageError("usage", "option grid", f"{','.join(map(str, grid))} does not fit the item", facts)
    return fitting
