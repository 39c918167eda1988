"""Paint the heart into a tissue map and a label map.

Later parts are painted over earlier ones: epicardial fat and pericardium, right ventricle, basal chambers, left
ventricle, papillary muscles. The labels of the cavities have smooth borders: papillary muscles and trabeculae belong to
the cavity, as in clinical contouring. Atria and outflow tracts are not labelled.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.phantom.fields import trabecular_depth
from cmrgz.data.phantom.kinematics import Heart, LVSection, RVSection
from cmrgz.data.phantom.tissue import INDEX

Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

RV, MYO, LV = 1, 2, 3
"""Labels, in the order of ACDC; 0 is background."""


@dataclass(frozen=True)
class Grid:
    """Where the fine pixels lie: coordinates from the LV axis and what is static in the slice.

    Attributes:
        x: mm along the image rows of the heart's own frame.
        y: mm down.
        angle: Angle about the LV axis, radians.
        radius: Distance from the LV axis, mm.
        depth: Depth below the skin, mm.
        rough: Unit-variance field of a fine texture.
        wobble: Unit-variance field of a coarse texture.
    """

    x: Array
    y: Array
    angle: Array
    radius: Array
    depth: Array
    rough: Array
    wobble: Array


@dataclass(frozen=True)
class Canvas:
    """What is painted: tissue numbers and labels, uint8 on the fine grid."""

    tissue: NDArray[np.uint8]
    label: NDArray[np.uint8]


class Chamber(NamedTuple):
    """A basal chamber: an ellipse (centre and half axes, mm) with a wall (mm) and its blood."""

    x: float
    y: float
    a: float
    b: float
    wall: float
    blood: str

    def distance(self, x: Array, y: Array) -> Array:
        """Return the approximate signed distance to the ellipse (mm, negative inside)."""
        distance: Array = (np.hypot((x - self.x) / self.a, (y - self.y) / self.b) - 1) * min(self.a, self.b)
        return distance


def basal_chambers(g: float, rb: float, atria: bool, right: bool) -> list[Chamber]:
    """Return RA and RVOT (`right`: above the RV base), LA and LVOT (`atria`: above the LV base).

    Args:
        g: Contraction.
        rb: Mean epicardial radius of the base, mm.
        atria: Whether the slice lies above the LV base.
        right: Whether it lies above the RV base.
    """
    out = []
    if right:
        out += [Chamber(-1.20 * rb, 0.42 * rb, 19 * (1 + 0.1 * g), 24, 1.8, "blood_r"),
                Chamber(-0.72 * rb, -0.92 * rb, 17, 13 * (1 - 0.1 * g), 2.6, "blood_r")]  # fmt: skip
    if atria:
        out += [Chamber(0.18 * rb, 0.46 * rb, 26, 17 * (1 + 0.15 * g), 2.0, "blood_l"),
                Chamber(-0.22 * rb, -0.32 * rb, 14, 13, 2.4, "blood_l")]  # fmt: skip
    return out


class HeartPainter:
    """Paints one height and time of a heart.

    Args:
        heart: The continuum model.
        realism: Wall-attached trabeculae, moderator band and basal chambers.
        z: Height, mm.
        t: Cycle fraction.
        grid: The fine pixels.
    """

    def __init__(self, heart: Heart, realism: bool, z: float, t: float, grid: Grid) -> None:
        self.heart, self.realism, self.grid = heart, realism, grid
        self.g = heart.contraction(t)
        section = heart.lv(z, grid.angle, t)
        self.above_base = section is None
        self.lv = self._above(t) if section is None else section
        self.rv = heart.rv(z, t, grid.x, grid.y, self.lv.epi2.mean())
        self.endo, self.epi = np.sqrt(self.lv.endo2), np.sqrt(self.lv.epi2)
        # Base and apex turn against one another; at three tenths of the height nothing turns.
        self.twist = np.deg2rad(heart.subject.torsion) * self.g * (self.lv.height - 0.3)

    def _above(self, t: float) -> LVSection:
        """Return the stump above the LV base."""
        epi2 = self.heart.base_epi2(self.grid.angle, t) * (0.82 if self.realism else 0.78)
        return LVSection(epi2 * 0.8, epi2, 0.0)

    def paint(self, canvas: Canvas) -> None:
        """Paint into `canvas`, which holds the torso."""
        rooms = self._rooms()
        self._fat(canvas, rooms)
        if self.rv is not None:
            self._right(canvas, self.rv)
        if self.above_base:
            self._base(canvas, bool(rooms))
        for room, distance in rooms:
            self._room(canvas, room, distance)
        if not self.above_base:
            self._left(canvas)
            self._papillaries(canvas)

    def _rooms(self) -> list[tuple[Chamber, Array]]:
        if not self.realism:
            return []
        right = self.rv is None and self.lv.height < 0.35
        radius = float(np.sqrt(self.lv.epi2.mean()))
        chambers = basal_chambers(self.g, radius, self.above_base, right)
        return [(c, c.distance(self.grid.x, self.grid.y)) for c in chambers]

    def _fat(self, canvas: Canvas, rooms: list[tuple[Chamber, Array]]) -> None:
        """Paint epicardial fat, thickest in the grooves, and the pericardium around it."""
        if self.epi.max() <= 0.5:
            return
        grid, s = self.grid, self.heart.subject
        to_rv = np.full_like(grid.x, 99.0) if self.rv is None else self.rv.distance
        distance = np.minimum(grid.radius - self.epi, to_rv - 3.0)
        for room, away in rooms:
            distance = np.minimum(distance, away - room.wall)
        distance = distance + 1.2 * grid.wobble
        groove = np.zeros_like(distance)
        near = np.abs(to_rv) < 9
        groove[near] = 1.5 * np.exp(-(((grid.radius[near] - self.epi[near]) / 6) ** 2))
        side = 0.55 + 0.7 * np.cos(grid.angle - self.heart.anatomy.rv_angle - 0.9)
        fat = s.epi_fat * (side + 0.25 * grid.wobble + groove).clip(0.12)
        inside = grid.depth > s.fat + 9
        canvas.tissue[(distance < fat + 1.6) & inside] = INDEX["peri"]
        canvas.tissue[(distance < fat) & inside] = INDEX["fat"]

    def _right(self, canvas: Canvas, rv: RVSection) -> None:
        """Paint RV wall, trabeculated cavity and moderator band."""
        outside = self.grid.radius > self.epi
        canvas.tissue[(rv.distance < 3.0) & outside] = INDEX["myo"]
        cavity = np.nonzero((rv.distance < 0) & outside)
        distance = rv.distance[cavity]
        # Beyond 7.5 mm from the wall all is blood, whatever the texture says.
        blood = (distance < -self._rv_trabeculae(cavity, rv.height)) | (distance < -7.5)
        canvas.tissue[_where(cavity, blood)] = INDEX["blood_r"]
        height, offset, width = self.heart.anatomy.band
        if self.realism and abs(rv.height - height) < 0.07:
            away = np.abs(rv.along[cavity] - offset - 0.12 * rv.across[cavity]) * 31 * self.heart.anatomy.rv_aspect
            canvas.tissue[_where(cavity, away < width)] = INDEX["myo"]
        canvas.label[cavity] = RV

    def _rv_trabeculae(self, cavity: tuple[NDArray[np.intp], ...], height: float) -> Array:
        if not self.realism:
            return 0.8 + 0.9 * self.grid.rough[cavity]
        depth = trabecular_depth(self.heart.anatomy.rv_texture, self.grid.angle[cavity], height)
        return 1.0 + 1.4 * depth

    def _base(self, canvas: Canvas, rooms: bool) -> None:
        """Paint the atrioventricular groove, or without basal chambers a plain stump."""
        if rooms:
            canvas.tissue[self.grid.radius < 0.9 * self.epi] = INDEX["fat"]
        else:
            canvas.tissue[self.grid.radius < self.epi] = INDEX["myo"]
            canvas.tissue[self.grid.radius < self.endo] = INDEX["blood_l"]

    def _room(self, canvas: Canvas, room: Chamber, distance: Array) -> None:
        """Paint one basal chamber; never into the LV."""
        e = distance + 0.5 * self.grid.wobble
        free = np.ones_like(e, bool) if self.above_base else self.grid.radius > self.epi
        canvas.tissue[(e < room.wall) & free & (e >= 0)] = INDEX["myo"]
        canvas.tissue[(e < 0) & free] = INDEX[room.blood]

    def _left(self, canvas: Canvas) -> None:
        """Paint myocardium, infarct and the trabeculated cavity."""
        grid, s = self.grid, self.heart.subject
        wall = np.nonzero(grid.radius < self.epi)
        canvas.tissue[wall], canvas.label[wall] = INDEX["myo"], MYO
        if s.infarct is not None:
            # The angle of a point on the circle: a difference of angles without a jump at pi.
            away = np.abs(np.angle(np.exp(1j * (grid.angle[wall] - s.infarct[0]))))
            canvas.tissue[_where(wall, away < s.infarct[1] / 2)] = INDEX["infarct"]
        near = np.nonzero(grid.radius < self.endo + 1.0)  # the plain texture may push blood out, by less than 1 mm
        radius, endo = grid.radius[near], self.endo[near]
        # At most so far: trabeculae fill no cavity, also near the apex where it is small.
        blood = radius + np.minimum(self._lv_trabeculae(near), 0.45 * endo) < endo
        canvas.tissue[_where(near, blood)] = INDEX["blood_l"]
        canvas.label[_where(near, radius < endo)] = LV

    def _lv_trabeculae(self, near: tuple[NDArray[np.intp], ...]) -> Array:
        u = self.lv.height
        if not self.realism:
            plain: Array = 0.55 * self.grid.rough[near].clip(-1.5, 2.2) * (0.4 + 0.8 * u)
            return plain
        return trabecular_depth(self.heart.anatomy.lv_texture, self.grid.angle[near] + self.twist, u)

    def _papillaries(self, canvas: Canvas) -> None:
        """Paint both papillary muscles; they thicken in systole and turn with the wall."""
        u, grid = self.lv.height, self.grid
        if not 0.22 < u < 0.74:
            return
        cavity = np.nonzero(grid.radius < self.endo)
        d = 0.70 * self.endo.mean()
        for angle, radius in self.heart.anatomy.papillaries:
            q = angle + self.twist
            r = radius * np.sin(np.pi * (u - 0.22) / 0.52) ** 0.4 * (1 + 0.12 * self.g)
            away = np.hypot(grid.x[cavity] - d * np.cos(q), grid.y[cavity] - d * np.sin(q))
            canvas.tissue[_where(cavity, away + 0.5 * grid.rough[cavity] < r)] = INDEX["myo"]


def _where(index: tuple[NDArray[np.intp], ...], chosen: BoolArray) -> tuple[NDArray[np.intp], ...]:
    """Return those of the pixels `index` that are `chosen`."""
    return tuple(i[chosen] for i in index)
