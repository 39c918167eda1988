"""Render slices and cines of one subject."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.phantom.fields import smooth_field
from cmrgz.data.phantom.heart import Canvas, Grid, HeartPainter
from cmrgz.data.phantom.kinematics import DENSITY, Heart
from cmrgz.data.phantom.signal import Receiver, Scanner
from cmrgz.data.phantom.subject import sample_anatomy, sample_subject
from cmrgz.data.phantom.tissue import TISSUE
from cmrgz.data.phantom.torso import torso
from cmrgz.errors import UsageError

Array = NDArray[np.float64]
Image = NDArray[np.uint16]
Labels = NDArray[np.uint8]

FIELD_OF_VIEW = 230.4
"""Default field of view, mm."""


@dataclass(frozen=True)
class _Slice:
    """All that does not depend on time: made once per slice, used by all of its frames.

    Attributes:
        key: Number of the slice in the random streams.
        x: Image coordinates of the fine pixels, mm.
        y: The same.
        torso: Tissue map without the heart.
        depth: Depth below the skin, mm.
        rough: Fine texture.
        wobble: Coarse texture.
        height: Height of the slice after breath-hold misregistration, mm.
        receiver: Signal and shading.
    """

    key: int
    x: Array
    y: Array
    torso: NDArray[np.uint8]
    depth: Array
    rough: Array
    wobble: Array
    height: float
    receiver: Receiver


class Phantom:
    """One virtual subject: an analytic short-axis cine bSSFP phantom.

    Everything is a function of (seed, z, t); the order of calls does not matter. In the image x points to the
    patient's left and y to the back; z runs from the end-diastolic base to the apex; t in [0, 1), 0 = end-diastole.

    Args:
        seed: The subject's seed.
        group: One of `subject.GROUPS`; drawn when None.
        size: Pixels along a side.
        spacing: Pixel size, mm; 230.4 / size when None.
        dz: Slice step, mm.
        thickness: Slice thickness, mm.
        ss: In-plane supersampling (partial volume).
        nsub: Through-plane supersampling; with `fit_rv=False` and 1 this is the `lite` setting.
        above: Slices above the end-diastolic base (atria and outflow tracts).
        realism: Slice misregistration, wall-attached trabeculae, moderator band, atria and outflow tracts.
        fit_rv: False skips the RV volume fit (fast); the RV truth is then what a default scale gives.

    Raises:
        UsageError: `range` for a setting out of its range.
    """

    def __init__(
        self,
        seed: int,
        group: str | None = None,
        size: int = 128,
        spacing: float | None = None,
        dz: float = 10.0,
        thickness: float = 8.0,
        ss: int = 2,
        nsub: int = 2,
        above: int = 1,
        realism: bool = True,
        fit_rv: bool = True,
    ) -> None:
        _check_settings(size, spacing, dz, ss, nsub)
        self.subject = sample_subject(seed, group)
        self.anatomy = sample_anatomy(self.subject)
        self.size, self.spacing = size, spacing or FIELD_OF_VIEW / size
        self.dz, self.thickness, self.ss, self.nsub, self.above, self.realism = dz, thickness, ss, nsub, above, realism
        self.heart = Heart(self.subject, self.anatomy, fit_rv)
        self._scanner = Scanner(self.subject, size, self.spacing)
        self._last: tuple[float, _Slice] | None = None
        # A table of shares, rounded as by the prototype that rendered the first training data: its bits are kept.
        self._share: NDArray[np.float32] = (np.arange(ss * ss + 1) / (ss * ss)).astype(np.float32) / np.float32(nsub)

    def heights(self) -> Array:
        """Return the slice-centre heights in mm, base to apex; the first `above` lie over the end-diastolic base."""
        n = int(np.ceil((self.subject.length + self.heart.apical_wall) / self.dz))
        heights: Array = (np.arange(-self.above, n, dtype=np.float64) + 0.5) * self.dz
        return heights

    def truth(self) -> dict[str, float]:
        """Return the continuum truth: volumes in ml, masses in g, fractions."""
        return self.heart.truth()

    def frame(self, z: float, t: float, noise_seed: int = 0) -> tuple[Image, Labels]:
        """Return image and label map, (size, size) each, at height `z` (mm) and cycle fraction `t`."""
        sl, n = self._slice(z), self.size
        grid = self._grid(sl, z, t)
        tissue, label = np.zeros((len(TISSUE), n, n), np.float32), np.zeros((4, n, n), np.float32)
        # Through the thickness of the slice: partial volume, most of all at the apex.
        for step in ((np.arange(self.nsub) + 0.5) / self.nsub - 0.5) * self.thickness:
            canvas = Canvas(sl.torso.copy(), np.zeros(sl.torso.shape, np.uint8))
            HeartPainter(self.heart, self.realism, sl.height + step, t, grid).paint(canvas)
            tissue += self._shares(canvas.tissue, len(TISSUE))
            label += self._shares(canvas.label, 4)
        label[0] = 1 - label[1:].sum(0)
        image = self._scanner.acquire(sl.receiver, tissue, sl.key, t, noise_seed)
        return np.clip(np.round(image), 0, 65535).astype(np.uint16), label.argmax(0).astype(np.uint8)

    def cine(self, phases: int = 12, heights: Sequence[float] | Array | None = None) -> tuple[Image, Labels]:
        """Return images and labels, (phases, slices, size, size) each.

        Args:
            phases: Frames per cycle.
            heights: Slice heights in mm; all of `heights()` when None.
        """
        if phases < 1:
            raise UsageError("range", "phases", f"must be 1 or more, got {phases}")
        rows = [[self.frame(z, j / phases) for j in range(phases)] for z in self._chosen(heights)]
        images = np.stack([[frame[0] for frame in row] for row in rows], axis=1)
        labels = np.stack([[frame[1] for frame in row] for row in rows], axis=1)
        return images, labels

    def _chosen(self, heights: Sequence[float] | Array | None) -> Sequence[float] | Array:
        return self.heights() if heights is None else heights

    # ------------------------------------------------------------------ rendering
    def slice_offset(self, z: float) -> Array:
        """Return the slice's (dx, dy, dz) in mm: breath-hold misregistration, about +-2 mm in plane."""
        if not self.realism:
            return np.zeros(3)
        # Each use has a stream with a number of its own: a draw more in one changes no other.
        rng = np.random.default_rng([self.subject.seed, 29, _key(z)])
        offset: Array = np.clip(rng.normal(0, [0.8, 1.3, 0.5]), -3, 3)
        return offset

    def _slice(self, z: float) -> _Slice:
        # The last one is enough: frames are rendered slice by slice.
        if self._last is None or self._last[0] != z:
            self._last = z, self._make_slice(z)
        return self._last[1]

    def _make_slice(self, z: float) -> _Slice:
        s, offset = self.subject, self.slice_offset(z)
        h = (np.arange(self.size * self.ss) + 0.5) / self.ss * self.spacing - self.size * self.spacing / 2
        x, y = np.meshgrid(h, h)
        x, y = x - s.shift[0] - offset[0], y - s.shift[1] - offset[1]
        tissue, depth = torso(s, self.anatomy, z, x, y)
        rng = np.random.default_rng([s.seed, 5, _key(z)])
        rough, wobble = self._fine_field(2.2, rng), self._fine_field(9, rng)
        centres = slice(self.ss // 2, None, self.ss)
        receiver = self._scanner.receiver(_key(z), x[centres, centres], y[centres, centres])
        return _Slice(_key(z), x, y, tissue, depth, rough, wobble, z + offset[2], receiver)

    def _fine_field(self, sigma: float, rng: np.random.Generator) -> Array:
        """Return a unit-variance field smooth over `sigma` mm, repeated to the fine grid."""
        field = smooth_field(self.size, sigma / self.spacing, rng)
        return field.repeat(self.ss, 0).repeat(self.ss, 1)

    def _grid(self, sl: _Slice, z: float, t: float) -> Grid:
        """Return the fine grid in the heart's own frame; its axis is oblique and its centre moves."""
        g, a = self.heart.contraction(t), np.deg2rad(self.subject.rot)
        dx, dy = sl.x - (14 - 2.0 * g + 0.10 * z), sl.y - (4 + 1.5 * g + 0.10 * z)
        x, y = np.cos(a) * dx + np.sin(a) * dy, -np.sin(a) * dx + np.cos(a) * dy
        return Grid(x, y, np.arctan2(y, x), np.hypot(x, y), sl.depth, sl.rough, sl.wobble)

    def _shares(self, fine: NDArray[np.uint8], classes: int) -> NDArray[np.float32]:
        """Return (classes, n, n): the share of each class in each pixel, over `nsub`."""
        n, ss = self.size, self.ss
        pixel = np.arange(n * n).reshape(n, 1, n, 1)
        at = fine.reshape(n, ss, n, ss) * np.intp(n * n) + pixel
        counts = np.bincount(at.ravel(), minlength=classes * n * n)
        return self._share[counts].reshape(classes, n, n)


def label_truth(labels: Labels, spacing: float, dz: float, es: int) -> dict[str, float]:
    """Return disc-summation volumes (ml), masses (g) and fractions of a label stack.

    A model's perfect output scores zero error against these; `Phantom.truth` shows the slice-sampling floor beside.

    Args:
        labels: (t, z, y, x); frame 0 is end-diastole.
        spacing: Pixel size, mm.
        dz: Slice step, mm.
        es: The frame of end-systole.
    """
    ml = spacing**2 * dz * 1e-3
    (rv, rv_es), (wall, wall_es), (lv, lv_es) = (
        [float((labels[frame] == i).sum() * ml) for frame in (0, es)] for i in (1, 2, 3)
    )
    return {"LVEDV": lv, "LVESV": lv_es, "LVEF": _fraction(lv, lv_es), "LVM_ED": wall * DENSITY,
            "LVM_ES": wall_es * DENSITY, "RVEDV": rv, "RVESV": rv_es, "RVEF": _fraction(rv, rv_es),
            "es_frame": es}  # fmt: skip


def _fraction(ed: float, es: float) -> float:
    """Return the ejection fraction; nan where the stack does not meet the cavity at all."""
    return 1 - es / ed if ed else float("nan")


def _key(z: float) -> int:
    """Return the slice's number in the random streams."""
    # Tenths of a millimetre, from 0 on: a seed takes no negative numbers, and heights above the base are.
    return round(z * 10) + 10000


def _check_settings(size: int, spacing: float | None, dz: float, ss: int, nsub: int) -> None:
    limits = (("size", size, 16, 1024), ("spacing", spacing or 1.0, 0.1, 20), ("dz", dz, 1, 50), ("ss", ss, 1, 8),
              ("nsub", nsub, 1, 16))  # fmt: skip
    for name, value, low, high in limits:
        if not low <= value <= high:
            raise UsageError("range", name, f"must be {low} .. {high}, got {value}")
