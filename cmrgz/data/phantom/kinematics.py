"""How the heart moves: the continuum model of both ventricles.

The LV cavity at relative height h has the radius r(h) = R (1 - h^P)^(1/2), so that V = pi R^2 L P / (P + 1) holds in
closed form and the requested volumes are met exactly. The volume within the epicardium is the cavity plus a constant
myocardial volume at every time: mass is conserved and wall thickening follows by itself. The in-plane shape is a
zero-mean Fourier series of the squared radius, which leaves every cross-section area as it was. The RV is an elliptic
crescent less the LV epicardium; its scales at end-diastole and end-systole are found by root finding.

Units are mm, ml and g. z runs from the end-diastolic base (0) to the apex; t in [0, 1) is the cycle fraction, 0 =
end-diastole.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.phantom.subject import Anatomy, Subject

Array = NDArray[np.float64]

PROFILE = 2.5
"""Exponent P of the LV cavity profile."""
DENSITY = 1.05
"""Density of myocardium, g/ml."""


class LVSection(NamedTuple):
    """The LV at one height: squared endocardial and epicardial radii (mm2) per angle, relative height."""

    endo2: Array
    epi2: Array
    height: float


class RVSection(NamedTuple):
    """The RV at one height: distance (mm, negative inside), relative height, coordinates over the half axes."""

    distance: Array
    height: float
    across: Array
    along: Array


class _Level(NamedTuple):
    """What the RV volume needs at one height and is free of the RV's scale."""

    z: float
    epi2_mean: float
    outside_lv: Array


def _ramp(x: Array | float) -> Array:
    """Raised cosine from 0 at x = 0 to 1 at x = 1."""
    ramp: Array = 0.5 - 0.5 * np.cos(np.pi * np.clip(x, 0, 1))
    return ramp


def contraction(t: Array | float, hr: float = 66.0) -> Array:
    """Return the contraction in [0, 1]: 0 at end-diastole, 1 at end-systole.

    Raised-cosine systole, isovolumic pause, E wave (74 %), diastasis, A wave.

    Args:
        t: Cycle fraction.
        hr: Heart rate, 1/min; a faster heart spends more of the cycle in systole.
    """
    t = np.mod(t, 1.0)
    # Systole lasts as the root of the cycle does (Bazett's rule for QT), so its share grows with the root of the rate.
    systole = np.clip(0.36 * np.sqrt(hr / 66), 0.28, 0.5)
    e_wave, a_wave = systole + 0.05, 0.86
    filling = 1 - 0.74 * _ramp((t - e_wave) / 0.19) - 0.26 * _ramp((t - a_wave) / (1 - a_wave))
    curve: Array = _ramp(t / systole) * (t <= systole) + (t > systole) * filling
    return curve


def end_systole(hr: float) -> float:
    """Return the cycle fraction of end-systole."""
    t = np.linspace(0, 0.6, 121)
    return float(t[np.argmax(contraction(t, hr))])


def outline(modes: Array, angle: Array) -> Array:
    """Return 1 + the Fourier series of `modes` (order, amplitude, phase) at `angle`."""
    series: Array = 1 + sum(a * np.cos(k * angle + p) for k, a, p in modes)
    return series


class Heart:
    """Both ventricles of a subject in the continuum.

    Args:
        subject: The requested volumes and motion.
        anatomy: The shape.
        fit_rv: False skips the RV volume fit (fast); the RV truth is then what a default scale gives.
    """

    def __init__(self, subject: Subject, anatomy: Anatomy, fit_rv: bool = True) -> None:
        self.subject, self.anatomy = subject, anatomy
        self.myocardium = subject.mass / DENSITY
        self.apical_wall = 3.0 + 0.02 * subject.mass
        self.t_es = end_systole(subject.hr)
        self.rv_scale = self._fit_rv() if fit_rv else (1.0, 0.8)

    def contraction(self, t: float) -> float:
        """Return the contraction at cycle fraction `t`."""
        return float(contraction(t, self.subject.hr))

    # ------------------------------------------------------------------ left ventricle
    def lv(self, z: float, angle: Array, t: float) -> LVSection | None:
        """Return the LV at height `z` and time `t`; None above the moving base."""
        s, g = self.subject, self.contraction(t)
        volume, k = s.edv * (1 - s.ef * g) * 1e3, PROFILE / (PROFILE + 1)
        length = s.length * (1 - s.shortening * g)
        h = z - (s.length - length)
        if h < 0:
            return None
        full = length + self.apical_wall
        # V = pi R^2 L P / (P + 1), solved for R^2: the requested volume holds at every time, and not by a fit.
        r2 = volume / (np.pi * length * k)
        # The same profile around cavity and wall together: mass is conserved, and the wall thickens by itself.
        e2 = (volume + self.myocardium * 1e3) / (np.pi * full * k)
        twisted = angle + np.deg2rad(s.torsion) * g * (h / length - 0.3)
        endo, epi = self._outlines(twisted) if h < full else (0 * angle, 0 * angle)
        endo2 = r2 * (1 - (h / length) ** PROFILE) * endo if h < length else 0 * angle
        epi2 = e2 * (1 - (h / full) ** PROFILE) * epi if h < full else 0 * angle
        endo2, epi2 = self._diseased(endo2, epi2, angle, h < length * 0.95)
        # Outlines that are drawn apart could cross: the wall is at least 3.6 % of the radius.
        return LVSection(np.minimum(endo2, 0.93 * epi2), epi2, h / length)

    def _outlines(self, angle: Array) -> tuple[Array, Array]:
        """Return both outlines; they share orders and phases, so that each wave is computed once."""
        waves = [np.cos(k * angle + p) for k, _, p in self.anatomy.endo]
        endo, epi = (1 + sum(a * w for a, w in zip(m[:, 1], waves, strict=True))
                     for m in (self.anatomy.endo, self.anatomy.epi))  # fmt: skip
        return endo, epi

    def _diseased(self, endo2: Array, epi2: Array, angle: Array, body: bool) -> tuple[Array, Array]:
        """Thicken the septum (HCM); push the endocardium of a thin akinetic sector outwards (MINF)."""
        s = self.subject
        if s.septal:
            d = angle - self.anatomy.rv_angle
            epi2 = epi2 * (1 + 0.9 * s.septal * (np.cos(d) + 0.35 * np.cos(2 * d)))
        if s.infarct is not None:
            centre, width, thin = s.infarct
            away = np.abs(np.angle(np.exp(1j * (angle - centre))))
            q = np.clip((width / 2 - away) / 0.25 + 0.5, 0, 1)
            wall = thin * 6.0 * (1 if body else 0.5)
            endo2 = (1 - q) * endo2 + q * np.maximum(endo2, (np.sqrt(epi2) - wall).clip(0) ** 2)
        return endo2, epi2

    def base_epi2(self, angle: Array, t: float) -> Array:
        """Return the squared epicardial radius just below the moving base."""
        drop = self.subject.length * self.subject.shortening * self.contraction(t)
        section = self.lv(drop + 1e-3, angle, t)
        return section.epi2 if section is not None else 0 * angle

    def lv_volume(self, t: float, levels: int = 400, angles: int = 180) -> tuple[float, float]:
        """Return (cavity in ml, myocardial mass in g) at time `t` by quadrature."""
        angle = np.linspace(0, 2 * np.pi, angles, endpoint=False)
        top = self.subject.length + self.apical_wall
        cavity = wall = 0.0
        for z in (np.arange(levels) + 0.5) / levels * top:
            section = self.lv(z, angle, t)
            if section is not None:
                cavity += np.pi * section.endo2.mean()
                wall += np.pi * (section.epi2 - section.endo2).mean()
        return cavity * top / levels * 1e-3, wall * top / levels * 1e-3 * DENSITY

    # ------------------------------------------------------------------ right ventricle
    def rv(self, z: float, t: float, x: Array, y: Array, epi2_mean: float,
           scale: tuple[float, float] | None = None) -> RVSection | None:  # fmt: skip
        """Return the RV at height `z` and time `t` on the grid (x, y); None outside its extent.

        Args:
            z: Height, mm.
            t: Cycle fraction.
            x: Coordinates from the LV axis, mm.
            y: The same.
            epi2_mean: Mean squared epicardial radius of the LV there: the RV leans on it.
            scale: Scales at end-diastole and end-systole; those fitted when None.
        """
        s, g = self.subject, self.contraction(t)
        scale = scale or self.rv_scale
        drop = s.length * s.shortening * g
        # The tricuspid ring descends farther than the mitral one.
        u = (z - 1.25 * drop) / (s.length * 0.93 - 0.6 * drop)
        if u < -0.02 or u >= 1:
            return None
        s0 = scale[0] + (scale[1] - scale[0]) * g
        profile = max(1 - max(u, 0) ** 1.7, 0) ** 0.62
        c, d = np.cos(self.anatomy.rv_angle), np.sin(self.anatomy.rv_angle)
        off = np.sqrt(max(epi2_mean, 1.0)) * 0.62 + 5
        uu, ww = (x - c * off) * c + (y - d * off) * d, -(x - c * off) * d + (y - d * off) * c
        a, b = max(31 * s0 * profile, 1e-3), max(31 * self.anatomy.rv_aspect * profile * (0.5 + 0.5 * s0), 1e-3)
        q = np.hypot(uu / a * (1 + 0.12 * ww / max(b, 1)), ww / b)
        return RVSection((q - 1) * min(a, b), u, uu / a, ww / b)

    def _rv_volume_at(self, t: float, levels: int = 60, m: int = 72) -> Callable[[tuple[float, float]], float]:
        """Return scale -> RV volume (ml) at time `t`; what is free of the scale is computed once."""
        px = 190 / m
        h = (np.arange(m) + 0.5) * px - 115
        x, y = np.meshgrid(h, h)
        angle, radius = np.arctan2(y, x), np.hypot(x, y)
        base = np.full_like(x, self.base_epi2(angle, t).mean())
        planes = []
        for z in (np.arange(levels) + 0.5) / levels * self.subject.length:
            section = self.lv(z, angle, t)
            epi2 = section.epi2 if section is not None else base
            planes.append(_Level(z, epi2.mean(), np.sqrt(epi2) - radius))

        def volume(scale: tuple[float, float]) -> float:
            total = 0.0
            for z, epi2_mean, outside in planes:
                section = self.rv(z, t, x, y, epi2_mean, scale)
                if section is not None:
                    # Soft edges of a pixel's width: with hard ones the volume would be a staircase, on which no root is
                    # found.
                    total += np.clip(0.5 - np.maximum(section.distance, outside) / px, 0, 1).sum()
            return total * px**2 * self.subject.length / levels * 1e-3

        return volume

    def rv_volume(self, t: float, levels: int = 60, m: int = 72) -> float:
        """Return the RV cavity volume (ml): ellipse less LV epicardium, soft edges, midpoint rule in z."""
        return self._rv_volume_at(t, levels, m)(self.rv_scale)

    def _fit_rv(self) -> tuple[float, float]:
        """Return the scales at end-diastole and end-systole that give the requested RV volumes."""
        s = self.subject
        goals = ((0.0, s.rv_edv), (self.t_es, s.rv_edv * (1 - s.rv_ef)))
        first, second = (_illinois(self._rv_volume_at(t), goal) for t, goal in goals)
        return first, second

    # ------------------------------------------------------------------ truth
    def truth(self) -> dict[str, float]:
        """Return the continuum values: volumes in ml, masses in g, fractions, time of end-systole."""
        (edv, mass), (esv, mass_es) = self.lv_volume(0.0), self.lv_volume(self.t_es)
        # Finer than in the fit: that has only to come near, and by this others are judged.
        rv_edv, rv_esv = (self.rv_volume(t, levels=144, m=128) for t in (0.0, self.t_es))
        out = {"LVEDV": edv, "LVESV": esv, "LVEF": 1 - esv / edv, "LVM_ED": mass, "LVM_ES": mass_es,
               "RVEDV": rv_edv, "RVESV": rv_esv, "RVEF": 1 - rv_esv / rv_edv, "t_es": self.t_es}  # fmt: skip
        return {k: float(v) for k, v in out.items()}


def _illinois(volume: Callable[[tuple[float, float]], float], goal: float) -> float:
    """Return the scale with `volume` = `goal` within 0.2 ml (regula falsi, Illinois variant)."""
    # Own code: the bits of a root by scipy may change with its version, and rendered caches are known by ours.
    lo, hi = 0.2, 2.6
    f_lo, f_hi = volume((lo, lo)) - goal, volume((hi, hi)) - goal
    mid = hi
    for _ in range(8):
        mid = (lo * f_hi - hi * f_lo) / (f_hi - f_lo)
        f_mid = volume((mid, mid)) - goal
        if abs(f_mid) < 0.2:
            break
        if f_mid * f_hi < 0:
            lo, f_lo = hi, f_hi
        else:
            # Dowell and Jarratt, BIT 1971: an end that stays is halved, else regula falsi creeps along one side.
            f_lo /= 2
        hi, f_hi = mid, f_mid
    return mid
