"""The grid: a scan <-> the items of a model. Padded, turned to the reader's view, windowed, and cut into blocks.

A block is what one model call sees: a tile of the plane, of so many phases and slices as the model sees together (one
of each for a model of frames). Blocks overlap where the model sees several; the phases of a full cycle are a ring,
around which blocks wrap. No hidden value is used: the scan comes with its hidden voxels replaced.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.orientation import Orientation
from cmrgz.data.planes import Cine, Planes
from cmrgz.data.scan import Scan
from cmrgz.data.window import Window, heart_centre
from cmrgz.plugin import Extent

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

OVERLAP, NARROW = 32, 24
"""Pixels by which tiles overlap, at least and where they fit: of frames, and of blocks of which something is known."""
RING = 4
"""Phases from which on a cine can be a full cycle."""
LEAP, SLACK, LAGS = 1.5, 1.05, (1, 2, 3)
"""In a full cycle the step from the last phase to the first is at most LEAP times the usual one; SLACK times is always
small enough. A step is over one of LAGS phases, the first of them at which enough is known."""
USUAL_STEP = 1 / 20
"""Share of the cycle between phases that are no full cycle."""


class Block(NamedTuple):
    """The first phase, slice, row and column of a block, and how many phases it steps on from one to the next."""

    t: int
    z: int
    row: int
    column: int
    stride: int = 1

    @property
    def key(self) -> tuple[int, ...]:
        """What its random stream is called after."""
        # The stride came later: without it a block keeps the stream, and so the draws, that it had for a seed.
        return self if self.stride > 1 else self[:4]


@dataclass(frozen=True)
class Grid:
    """How a scan becomes items; made by `Grid.of`.

    Attributes:
        shape: (t, z, y, x) of the scan.
        padded: (y, x) of its planes, padded at their far ends.
        orientation: How the padded planes are turned.
        window: From the turned planes to the model's.
        extent: What a call of the model sees.
        phases: (t,) part of the cardiac cycle.
        slices: (z,) place between base and apex.
        step: Distance of slices, mm.
        ring: The phases are a full cycle.
        tempo: Share of the cycle from one phase to the next.
    """

    shape: tuple[int, int, int, int]
    padded: tuple[int, int]
    orientation: Orientation
    window: Window
    extent: Extent
    phases: NDArray[Any]
    slices: NDArray[Any]
    step: float
    ring: bool
    tempo: float

    @classmethod
    def of(cls, scan: Scan, voxels: Cine, known: Bools, extent: Extent, patch: int) -> "Grid":
        """Plan a scan for a model.

        Args:
            scan: Where its voxels lie.
            voxels: (t, z, y, x) its values; hidden ones are not used.
            known: Bool (t, z, y, x), True = given.
            extent: What a call of the model sees.
            patch: Edge of its patches in pixels: planes are padded to whole ones, and tiles start on them.
        """
        h, w = scan.shape[2:]
        padded = (-(-h // patch) * patch, -(-w // patch) * patch)
        turn = Orientation.of_geometry(scan.geometry)
        # Found in the turned planes, so that it is the same, to the bit, however the planes are stored.
        row, column = _heart(voxels, known, turn)
        inside = turn.apply(np.pad(np.ones((h, w), dtype=bool), ((0, padded[0] - h), (0, padded[1] - w))))
        centre = row + int(inside.any(1).argmax()), column + int(inside.any(0).argmax())
        edges = turn.edges(scan.spacing)
        plane, item = (inside.shape[0], inside.shape[1]), extent.plane
        # What is known of a scan holds the tiles of blocks together: all start from one continuation of it.
        centred = len(extent.axes) == 2 or not known.any()
        overlap = min(OVERLAP if centred else NARROW, min(item) // 4)
        window = Window.plan(plane, edges, item, extent.spacing, centre, patch, overlap, centred=centred)
        # Of a refined scan only recorded phases are compared: those between them are all hidden.
        ring = "t" in extent.axes and is_cycle(*_recorded(voxels, known, scan.finer))
        tempo = tempo_of(-(-scan.shape[0] // scan.finer), ring) / scan.finer
        places = (scan.phases, scan.slice_positions, scan.spacing[0])
        return cls(scan.shape, padded, turn, window, extent, *places, ring, tempo)

    @property
    def lengths(self) -> tuple[int, int]:
        """Phases and slices of a block."""
        return min(self.extent.phases, self.shape[0]), min(self.extent.slices, self.shape[1])

    @property
    def starts(self) -> tuple[list[int], list[int]]:
        """First phases and first slices of the blocks."""
        t, z = self.lengths
        return _starts(self.shape[0], t, self.ring), _starts(self.shape[1], z, False)

    def to_model(self, unit: Floats, known: Bools) -> tuple[Floats, Bools, Bools]:
        """Map a scan to the model's planes.

        Args:
            unit: (..., y, x) in [-1, 1], a plane or several.
            known: Bool (..., y, x).

        Returns:
            The planes (..., h', w'), which pixels are known, and which the hidden voxels of the scan need: unlike
            `~known`, not those of the padding.
        """
        lead = known.shape[:-2]
        frames, seen = self.window.to_model(self._turned(unit), self._turned(known))
        # Here padding counts as known: no voxel of the scan needs it. For `seen` it does not: nothing was measured
        # there.
        solid = self._turned(known, fill=True)
        wanted = ~self.window.to_model(np.zeros(solid.shape, dtype=np.float32), solid)[1]
        wanted[:, self.window.inner[0] :], wanted[:, :, self.window.inner[1] :] = False, False
        return tuple(part.reshape(*lead, *part.shape[1:]) for part in (frames, seen, wanted))  # type: ignore[return-value]

    def to_scan(self, frames: Floats) -> Floats:
        """Return planes (..., h', w') on the scan's grid (..., y, x)."""
        planes = self.orientation.undo(self.window.to_native(frames.reshape(-1, *frames.shape[-2:])))
        return planes[:, : self.shape[2], : self.shape[3]].reshape(*frames.shape[:-2], *self.shape[2:])

    def phases_of(self, block: Block) -> NDArray[np.int64]:
        """Return the phases of a block, which may wrap around the cycle."""
        return (block.t + block.stride * np.arange(self.lengths[0])) % self.shape[0]

    def spread(self, block: Block) -> Block:
        """Return the block with its phases spread over the cycle; as it is where they are no cycle, or all of it."""
        return block._replace(stride=max(1, self.shape[0] // self.lengths[0]) if self.ring else 1)

    def slices_of(self, block: Block) -> NDArray[np.int64]:
        """Return the slices of a block."""
        return block.z + np.arange(self.lengths[1])

    def cut(self, cine: NDArray[Any], block: Block) -> NDArray[Any]:
        """Return the item (*item) of a block of a cine (t, z, h', w'), along the axes of the model."""
        rows, columns = self.area(block)
        part = cine[np.ix_(self.phases_of(block), self.slices_of(block))][..., rows, columns]
        return part.reshape(self.item)

    @property
    def item(self) -> tuple[int, ...]:
        """Shape of an item of this scan along the axes of the model."""
        t, z = self.lengths
        length = {"t": t, "z": z, "y": self.extent.plane[0], "x": self.extent.plane[1]}
        return tuple(length[axis] for axis in self.extent.axes)

    def area(self, block: Block) -> tuple[slice, slice]:
        """Return the rows and columns of a block."""
        h, w = self.window.item
        return slice(block.row, block.row + h), slice(block.column, block.column + w)

    def condition(self, blocks: Sequence[Block], given: Mapping[str, float | Sequence[float]]) -> dict[str, Floats]:
        """Return what is known of blocks beside their pixels, one array a name, of the model's axes.

        Args:
            blocks: Where they lie.
            given: Values that replace those of the scan, one for all blocks or one a block.
        """
        offset = [self.window.offset((block.row, block.column)) for block in blocks]
        values: dict[str, NDArray[Any]] = {
            "phase": self._framed([self.phases[self.phases_of(block)] for block in blocks], 0),
            "slice": self._framed([self.slices[self.slices_of(block)] for block in blocks], 1),
            "row": np.array([row for row, _ in offset]),
            "column": np.array([column for _, column in offset]),
        }
        values |= {name: _spread(value, values.get(name, values["row"])) for name, value in given.items()}
        if len(self.extent.axes) > 2:
            t, z = self.lengths
            time, height = self.tempo * np.arange(t), self.step * np.arange(z)
            # Coordinates and not indices: a block spread over the cycle, or a finer grid, is told how far its frames
            # lie apart.
            times = [block.stride * time for block in blocks]
            values |= {"time": self._framed(times, 0), "height": self._framed([height] * len(blocks), 1)}
            # `time` begins at 0 in each block; the start says where in the cycle that is, for fields that all blocks
            # share.
            values["start"] = self.tempo * np.array([block.t for block in blocks])
        return {name: value.astype(np.float32) for name, value in values.items()}

    def _framed(self, values: Sequence[NDArray[Any]], axis: int) -> NDArray[Any]:
        """Return values of phases (axis 0) or slices (axis 1) as (n, t, z), or (n,) for a model of frames."""
        stacked = np.stack(values)
        if len(self.extent.axes) == 2:
            return stacked[:, 0]
        return np.broadcast_to(np.expand_dims(stacked, 2 - axis), (len(values), *self.lengths)).copy()

    def _turned(self, voxels: NDArray[Any], fill: bool | float = 0) -> NDArray[Any]:
        """Return the planes (n, y', x') of voxels (..., y, x), padded with `fill` and turned."""
        # At the far ends, so that voxels keep their indices.
        margin = [(0, 0), *((0, p - n) for p, n in zip(self.padded, self.shape[2:], strict=True))]
        flat = voxels.reshape(-1, *self.shape[2:])
        return np.ascontiguousarray(self.orientation.apply(np.pad(flat, margin, constant_values=fill)))


def _recorded(voxels: Cine, known: Bools, finer: int) -> tuple[Cine, Bools]:
    """Return every n-th phase of a scan of which the others lie between those that were recorded."""
    part = known[::finer]
    return Planes((*part.shape[:2], *voxels.shape[2:]), voxels.dtype, lambda t, z: voxels[t * finer, z]), part


def _heart(voxels: Cine, known: Bools, turn: Orientation) -> tuple[float, float]:
    """Return the heart's centre (row, column) in the turned planes."""
    seen = turn.apply(known)
    shape = (*known.shape[:2], *seen.shape[2:])
    planes = Planes(shape, voxels.dtype, lambda t, z: np.ascontiguousarray(turn.apply(voxels[t, z])))
    return heart_centre(planes, seen)


def _spread(value: float | Sequence[float], like: NDArray[Any]) -> NDArray[Any]:
    """Return a value, or one of each block, in the shape (n, ...) of an array."""
    return np.broadcast_to(np.reshape(np.asarray(value, like.dtype), (-1, *[1] * (like.ndim - 1))), like.shape)


def _starts(length: int, block: int, ring: bool) -> list[int]:
    """Return where blocks start along phases or slices: overlapping by one where they have three or more."""
    if block >= length:
        return [0]
    # One shared frame is what a block sees of its neighbours; of blocks of two it would double the number of calls.
    stride = block - 1 if block > 2 else block
    if ring:
        number = -(-length // stride)
        return [i * length // number for i in range(number)]
    return list(dict.fromkeys(min(start, length - block) for start in range(0, length - block + stride, stride)))


def tempo_of(phases: int, ring: bool) -> float:
    """Return the share of the cycle from one phase of a scan to the next."""
    return 1 / phases if ring or phases < RING else USUAL_STEP


def is_cycle(voxels: Cine, known: Bools | None = None) -> bool:
    """Whether the phases of a scan (t, z, y, x) are a full cycle: the last lies as near to the first as others do.

    Nearer, too, than half way to phases that are half of all apart: where noise is most of a step, a leap is not much
    longer. Taken as one where too little is known to tell; `known` is all of it if None.
    """
    known = np.ones(voxels.shape, dtype=bool) if known is None else known
    n = len(known)
    if n < RING:
        return False

    def steps(lag: int) -> NDArray[np.float64]:
        pairs = ((t, (t + lag) % n) for t in range(n))
        return np.array([_step(voxels, known, a, b) for a, b in pairs])

    for lag in LAGS:
        near = steps(lag)
        # The last `lag` of the steps lead from the end of the scan back to its start.
        within, across = near[: n - lag], near[n - lag :]
        if np.isfinite(within).any() and np.isfinite(across).any():
            usual, leap, apart = np.nanmedian(within), np.nanmean(across), steps(n // 2)[: n - n // 2]
            half_way = (usual + np.nanmean(apart)) / 2 if np.isfinite(apart).any() else np.inf
            return bool(leap <= min(LEAP * usual, max(half_way, SLACK * usual)))
    return True


def _step(voxels: Cine, known: Bools, a: int, b: int) -> float:
    """Return the mean difference of two phases where both are known, NaN for less than one part in a hundred."""
    both = known[a] & known[b]
    if both.mean() < 0.01:
        return float("nan")
    apart, start = np.empty(np.count_nonzero(both), voxels.dtype), 0
    for z, seen in enumerate(both):
        values = np.abs(voxels[b, z][seen] - voxels[a, z][seen])
        apart[start : start + len(values)] = values
        start += len(values)
    return float(apart.mean())
