"""The frames of a scan <-> the items of a model: padded, turned to the reader's view, windowed and tiled.

No hidden value is used: the scan comes with its hidden voxels replaced.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.orientation import Orientation
from cmrgz.data.scan import Scan
from cmrgz.data.window import Window, heart_centre

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Tile = tuple[int, int]

EDGE = 8
"""Planes are padded to multiples of this before they are turned, so that patches stay whole."""


@dataclass(frozen=True)
class Plan:
    """How the frames of a scan become items; made by `Plan.of`.

    Attributes:
        shape: (t, z, y, x) of the scan.
        padded: (y, x) of its planes, padded at their far ends.
        orientation: How the padded planes are turned.
        window: From the turned planes to the model's.
        phases: (t,) part of the cardiac cycle.
        slices: (z,) place between base and apex.
    """

    shape: tuple[int, int, int, int]
    padded: tuple[int, int]
    orientation: Orientation
    window: Window
    phases: NDArray[Any]
    slices: NDArray[Any]

    @classmethod
    def of(cls, scan: Scan, voxels: Floats, known: Bools, item: tuple[int, int], spacing: float) -> "Plan":
        """Plan a scan for a model.

        Args:
            scan: Where its voxels lie.
            voxels: (t, z, y, x) its values; hidden ones are not used.
            known: Bool (t, z, y, x), True = given.
            item: (h, w) of the model's items.
            spacing: Pixel size in mm that the model was trained on.
        """
        h, w = scan.shape[2:]
        padded = (-(-h // EDGE) * EDGE, -(-w // EDGE) * EDGE)
        turn = Orientation.of_geometry(scan.geometry)
        # Found in the turned planes, so that it is the same, to the bit, however the planes are stored.
        row, column = heart_centre(np.ascontiguousarray(turn.apply(voxels)), np.ascontiguousarray(turn.apply(known)))
        inside = turn.apply(np.pad(np.ones((h, w), dtype=bool), ((0, padded[0] - h), (0, padded[1] - w))))
        centre = row + int(inside.any(1).argmax()), column + int(inside.any(0).argmax())
        edges = scan.spacing[:0:-1] if turn.swap else scan.spacing[1:]
        plane = (inside.shape[0], inside.shape[1])
        window = Window.plan(plane, edges, item, spacing, centre, EDGE, overlap=min(32, min(item) // 4))
        return cls(scan.shape, padded, turn, window, scan.phases, scan.slice_positions)

    def to_model(self, unit: Floats, known: Bools) -> tuple[Floats, Bools, Bools]:
        """Map a scan to the model's planes.

        Args:
            unit: (t, z, y, x) in [-1, 1].
            known: Bool (t, z, y, x).

        Returns:
            The frames (t * z, h', w'), which pixels are known, and which the hidden voxels of the scan need: unlike
            `~known`, not those of the padding.
        """
        frames, seen = self.window.to_model(self._turned(unit), self._turned(known))
        solid = self._turned(known, fill=True)
        wanted = ~self.window.to_model(np.zeros(solid.shape, dtype=np.float32), solid)[1]
        wanted[:, self.window.inner[0] :], wanted[:, :, self.window.inner[1] :] = False, False
        return frames, seen, wanted

    def to_scan(self, frames: Floats) -> Floats:
        """Return frames (t * z, h', w') on the scan's grid (t, z, y, x)."""
        planes = self.orientation.undo(self.window.to_native(frames))
        return planes[:, : self.shape[2], : self.shape[3]].reshape(self.shape)

    def place(self, frame: int) -> tuple[int, int]:
        """Return (t, z) of a frame."""
        return divmod(frame, self.shape[1])

    def area(self, tile: Tile) -> tuple[slice, slice]:
        """Return the rows and columns of a tile."""
        h, w = self.window.item
        return slice(tile[0], tile[0] + h), slice(tile[1], tile[1] + w)

    def condition(
        self, frames: Sequence[int], tile: Tile, given: Mapping[str, float]
    ) -> dict[str, NDArray[np.float32]]:
        """Return what is known of the items of a tile beside their pixels, one array (b,) a name.

        Args:
            frames: The frame of each item.
            tile: Where they lie in the plane.
            given: Values that replace those of the scan.
        """
        row, column = self.window.offset(tile)
        places = [self.place(frame) for frame in frames]
        values: dict[str, list[float]] = {
            "phase": [float(self.phases[t]) for t, _ in places],
            "slice": [float(self.slices[z]) for _, z in places],
            "row": [row] * len(places),
            "column": [column] * len(places),
        }
        values |= {name: [value] * len(places) for name, value in given.items()}
        return {name: np.array(value, dtype=np.float32) for name, value in values.items()}

    def _turned(self, voxels: NDArray[Any], fill: bool | float = 0) -> NDArray[Any]:
        """Return the planes (t * z, y', x') of voxels (t, z, y, x), padded with `fill` and turned."""
        margin = [(0, 0), (0, 0), *((0, p - n) for p, n in zip(self.padded, self.shape[2:], strict=True))]
        planes = self.orientation.apply(np.pad(voxels, margin, constant_values=fill))
        return np.ascontiguousarray(planes).reshape(-1, *planes.shape[2:])
