"""Checks of models that see phases or slices together, on blocks alone."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cmrgz.data.masks import parse
from cmrgz.data.scan import Scan
from cmrgz.tasks import inpaint
from cmrgz.testing.subject import SPACING, Subject, scan, streams

LENGTHS = ((1, 1), (5, 1), (1, 3))
"""Phases and slices of blocks that are none of those that a model was built for."""
SCANS = ((1, 1), (1, 3), (4, 1))
"""Phases and slices of scans."""


def other_frames_matter(subject: Subject) -> None:
    """A known neighbour in time, or beside it, changes what is drawn of a hidden frame."""
    x = subject.items(2)
    for axis, name in _frame_axes(subject):
        known = torch.zeros_like(x, dtype=torch.bool)
        known.select(axis, 0).fill_(True)
        base, other = (subject.draw(torch.where(known, part, 0.0), known).select(axis, 1) for part in (x, -x))
        assert not torch.equal(base, other), f"along {name} a known frame does not matter to the next"


def no_peek_through_frames(subject: Subject) -> None:
    """Whatever stands in hidden frames, or in hidden parts of others, noise or NaN, not a bit changes."""
    x = subject.items(3)
    for known in _partly_known(subject, x):
        want = subject.draw(torch.where(known, x, 0.0), known)
        for hidden in (-x, torch.full_like(x, 1e4), torch.full_like(x, torch.nan)):
            got = subject.draw(torch.where(known, x, hidden), known)
            assert torch.equal(got, want), "hidden voxels of other frames are read"


def _partly_known(subject: Subject, x: Tensor) -> Iterator[Tensor]:
    """Yield known pixels of items: single frames with a hole, and squares of every frame."""
    yield subject.known_part(len(x) + 1)[:-1]
    for axis, _ in _frame_axes(subject):
        known = torch.zeros_like(x, dtype=torch.bool)
        known.select(axis, 0).fill_(True)
        known[..., 20:40, 20:40] = False  # off the grid of patches
        yield known


def no_peek_through_a_scan(subject: Subject) -> None:
    """Hidden voxels of other phases and slices of a scan, noise or NaN, change no bit of the result."""
    image = subject.scan()
    for mask in ("patch:0.5", "frames:every=2", "slices:every=2"):
        known = parse(mask).draw(image.shape, seed=0)
        want = inpaint(subject.model, image, known, subject.setting).samples
        for hidden in (np.nan, np.random.default_rng(1).normal(0, 1e4, image.shape)):
            stored = np.where(known, image.voxels, hidden).astype(np.float32)
            got = inpaint(subject.model, replace(image, stored=stored), known, subject.setting).samples
            assert np.array_equal(got, want), f"{mask}: hidden voxels reach the result"


def any_lengths(subject: Subject) -> None:
    """Blocks of one frame, slice or phase, and longer ones than it was built for, are drawn and learnt."""
    for lengths in LENGTHS:
        size = _sized(subject, lengths)
        x, known = subject.items(2, size=size), subject.known_part(2, size)
        drawn = subject.draw(torch.where(known, x, 0.0), known)
        assert drawn.shape == x.shape and bool(drawn.isfinite().all()), f"{lengths[0]} phases, {lengths[1]} slices"
        with torch.no_grad():
            assert bool(subject.model.loss(x, rng=streams(2)).isfinite()), f"loss of {lengths}"


def scans_of_one_phase_or_slice(subject: Subject) -> None:
    """Scans with fewer phases or slices than a block are drawn, and their known voxels stay."""
    for t, z in SCANS:
        image: Scan = scan((t, z, 64, 64))
        known = parse("patch:0.5").draw(image.shape, seed=0)
        drawn = inpaint(subject.model, image, known, subject.setting).samples
        assert np.isfinite(drawn).all() and np.array_equal(drawn[0][known], image.voxels[known]), (t, z)


def conditions_of_frames(subject: Subject) -> None:
    """A condition may differ from frame to frame; one that is the same in all frames is that of the item."""
    x, known = subject.items(3), subject.known_part(3)
    given = torch.where(known, x, 0.0)
    frames = (3, subject.extent.phases, subject.extent.slices)
    plain = subject.draw(given, known)
    for name in subject.spec.conditions:
        item = torch.tensor([0.2, 0.5, 0.8])
        same = item[:, None, None].expand(frames)
        one, each = (subject.draw(given, known, condition={name: value}) for value in (item, same))
        assert torch.allclose(one, each, atol=1e-4), f"'{name}' of every frame differs from '{name}' of the item"
        ramp = torch.linspace(0.1, 0.9, same[0].numel()).view(frames[1:]).expand(frames).clone()
        ramp[:, -1, -1] = torch.nan
        other = subject.draw(given, known, condition={name: ramp})
        assert bool(other.isfinite().all()), f"'{name}' of single frames"
        assert not torch.equal(other, plain), f"'{name}' of single frames does not matter"


def places_are_told(subject: Subject) -> None:
    """Time, height and the continuation of the whole scan may be told; none of them is a must."""
    x, known = subject.items(3), subject.known_part(3)
    given = torch.where(known, x, 0.0)
    time = torch.arange(subject.extent.phases)[:, None] / 20
    height = SPACING * 7 * torch.arange(subject.extent.slices)
    condition = {name: value.expand(3, subject.extent.phases, subject.extent.slices).float()
                 for name, value in (("time", time), ("height", height))}  # fmt: skip
    for told in (condition, {**condition, "fill": torch.where(known, x, 0.1)}):
        drawn = subject.draw(given, known, condition=told)
        assert drawn.shape == x.shape and bool(drawn.isfinite().all()), sorted(told)


def _frame_axes(subject: Subject) -> list[tuple[int, str]]:
    """Return the axis of the items and the name of each axis of frames, of which they have several."""
    names = {"t": "time", "z": "the slices"}
    axes = [(2 + i, names[axis]) for i, axis in enumerate(subject.extent.axes[:-2])]
    return [(axis, name) for axis, name in axes if subject.extent.item[axis - 2] > 1]


def _sized(subject: Subject, lengths: tuple[int, int]) -> tuple[int, ...]:
    """Return the shape of an item of so many phases and slices, as far as the model sees them."""
    length = dict(zip("tz", lengths, strict=True))
    return (*(length[axis] for axis in subject.extent.axes[:-2]), *subject.extent.plane)
