"""The planes of a scan as a model sees them, of which only what is drawn is held.

What is given is made of the scan plane by plane, again whenever it is asked for where a small cache does not have it.
Of what is drawn only the pixels that were not known before are kept, sample by sample.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.intensity import Scale
from cmrgz.data.planes import Planes
from cmrgz.grid import Block, Bools, Floats, Grid

CACHE = 1 << 26
"""Bytes of given planes that are kept at least; of a large scan a part of its size."""
SHARE = 4
"""Of the bytes of a scan as stored, one in so many may be taken by the cache."""

Place = tuple[int, int]
"""A phase and a slice."""


class _Part(NamedTuple):
    """What was drawn in an area of a plane: the pixels that were not known, in raster order."""

    area: tuple[slice, slice]
    values: Floats
    """(k, n), of each sample."""


class Canvas:
    """A scan on the planes of a model (t, z, h', w'), on which blocks are drawn.

    Args:
        grid: Of the scan.
        voxels: (t, z, y, x) float32 in the scan's intensities, 0 where hidden.
        known: (t, z, y, x) bool.
        scale: Of the intensities.
        samples: How many are drawn.
        room: Bytes of given planes that may be kept.

    Attributes:
        given: (t, z, h', w') float32 in [-1, 1], 0 where nothing is given; what is drawn is not seen.
        seen: (t, z, h', w') bool, where something is given.
        wanted: (t, z, h', w') bool, what the hidden voxels need.
    """

    def __init__(self, grid: Grid, voxels: Planes, known: Bools, scale: Scale, samples: int, room: int = CACHE) -> None:
        self.grid, self.voxels, self.known, self.scale = grid, voxels, known, scale
        self.samples, self.room = samples, room
        shape = (*grid.shape[:2], *grid.window.padded)
        self.given = Planes(shape, np.dtype(np.float32), self._given)
        self.seen = Planes(shape, np.dtype(bool), lambda t, z: self._bits(t, z)[0])
        self.wanted = Planes(shape, np.dtype(bool), lambda t, z: self._bits(t, z)[1])
        # A bit a pixel, an eighth of a bool array and a thirty-second of grey values: these are kept for every plane.
        self._packed: dict[Place, NDArray[np.uint8]] = {}
        self._kept: dict[Place, Floats] = {}
        self._parts: dict[Place, list[_Part]] = {}
        self._round: dict[Place, _Part] = {}

    def cut(self, k: int, block: Block) -> tuple[Floats, Bools]:
        """Return an item (*item) of a sample, and what of it is given or was drawn in an earlier round."""
        area = self.grid.area(block)
        planes = [self._plane(k, *place) for place in self._places(block)]
        x, seen = (np.stack([part[area] for part in parts]) for parts in zip(*planes, strict=True))
        return x.reshape(self.grid.item), seen.reshape(self.grid.item)

    def put(self, k: int, block: Block, item: Floats) -> None:
        """Draw an item (*item) of a sample where nothing is known yet; it is seen from the next round on."""
        area = self.grid.area(block)
        for place, values in zip(self._places(block), item.reshape(-1, *item.shape[-2:]), strict=True):
            new = ~self._known(*place)[area]
            # Blocks of a round share no frame, so that a plane has one area in a round, which is that of all samples.
            if place not in self._round:
                self._round[place] = _Part(area, np.empty((self.samples, np.count_nonzero(new)), np.float32))
            self._round[place].values[k] = values[new]

    def end_round(self) -> None:
        """Let what was drawn be seen."""
        for place, part in self._round.items():
            self._parts.setdefault(place, []).append(part)
        self._round = {}

    def finish(self) -> dict[Place, Floats]:
        """Return the hidden voxels of each plane that has some, (k, n) in the scan's intensities, in raster order.

        What was drawn of a plane is given up as soon as its voxels are made.
        """
        # No block is cut any more: the memory of the cache is wanted for the results.
        self._kept = {}
        places = (place for place in np.ndindex(self.known.shape[:2]) if not self.known[place].all())
        return {place: self._finished(place) for place in places}

    def _finished(self, place: Place) -> Floats:
        hidden = ~self.known[place]
        planes = (self.grid.to_scan(self._plane(k, *place)[0])[hidden] for k in range(self.samples))
        values = np.stack([self.scale.from_unit(plane) for plane in planes])
        self._parts.pop(place, None)
        return values

    def _places(self, block: Block) -> list[Place]:
        phases, slices = self.grid.phases_of(block).tolist(), self.grid.slices_of(block).tolist()
        return [(t, z) for t in phases for z in slices]

    def _plane(self, k: int, t: int, z: int) -> tuple[Floats, Bools]:
        """Return a plane (h', w') of a sample, and what of it is known so far."""
        # `given` may be the plane of the cache, so it is copied; `seen` is unpacked anew at each access and may be
        # written to.
        x, seen = self.given[t, z].copy(), self.seen[t, z]
        for area, values in self._parts.get((t, z), ()):
            # In the order of their drawing: `values` has just the pixels that were not known then.
            x[area][~seen[area]] = values[k]
            seen[area] = True
        return x, seen

    def _known(self, t: int, z: int) -> Bools:
        seen: Bools = self.seen[t, z]
        for area, _ in self._parts.get((t, z), ()):
            seen[area] = True
        return seen

    # ---------------------------------------------------------------------- what is given
    def _given(self, t: int, z: int) -> Floats:
        if (t, z) not in self._kept:
            return self._made(t, z)
        return self._kept[t, z]

    def _bits(self, t: int, z: int) -> tuple[Any, Any]:
        """Return what of a plane is given, and what is wanted; kept as bits."""
        if (t, z) not in self._packed:
            self._made(t, z)
        h, w = self.given.shape[2:]
        seen, wanted = np.unpackbits(self._packed[t, z], axis=1, count=h * w).view(bool).reshape(2, h, w)
        return seen, wanted

    def _made(self, t: int, z: int) -> Floats:
        """Return a plane as it is given, and keep of it what there is room for."""
        x, seen, wanted = self.grid.to_model(self.scale.to_unit(self.voxels[t, z]), self.known[t, z])
        self._packed[t, z] = np.packbits(np.stack([seen, wanted]).reshape(2, -1), axis=1)
        if (len(self._kept) + 1) * x.nbytes <= self.room:
            self._kept[t, z] = x
        return x
