"""Who is scanned: the random inputs of one subject, drawn from normal ranges and five disease groups.

Every draw has its own stream keyed by the subject's seed, so that a subject never depends on another one.

Sources of the ranges:
    LVEF, LV mass: Petersen et al., JCMR 2017 (UK Biobank reference ranges).
    LVEDV, RV volumes: Hudsmith et al., JCMR 2005.
    Groups: named as in ACDC (Bernard et al., IEEE TMI 2018).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.phantom.fields import fractal_texture
from cmrgz.errors import UsageError, did_you_mean

Array = NDArray[np.float64]

GROUPS = {"NOR": 0.6, "DCM": 0.1, "HCM": 0.1, "MINF": 0.1, "RV": 0.1}
"""Disease groups and how often each is drawn."""


@dataclass(frozen=True)
class Subject:
    """The requested values of one subject (`Phantom.truth` has the realised ones).

    Attributes:
        seed: The subject's seed.
        group: One of `GROUPS`.
        sex: `M` or `F`.
        bmi: Body mass index, kg/m2.
        edv: LV end-diastolic volume, ml.
        ef: LV ejection fraction.
        mass: LV mass, g.
        length: LV long axis at end-diastole, mm.
        shortening: Long-axis shortening fraction.
        rv_edv: RV end-diastolic volume, ml.
        rv_ef: RV ejection fraction.
        torsion: Twist from base to apex at end-systole, degrees.
        rot: Rotation of the heart in the image plane, degrees.
        shift: Position of the body in the image, mm.
        fat: Thickness of the subcutaneous fat, mm.
        epi_fat: Thickness of the epicardial fat, mm.
        infarct: Centre angle, width (radians) and thinning of the akinetic sector, if there is one.
        septal: Septal modulation of the wall (HCM).
        tr: Repetition time, ms.
        flip: Flip angle, degrees.
        snr: Signal-to-noise ratio of blood.
        bias: Exponent of the coil shading.
        hr: Heart rate, 1/min.
    """

    seed: int
    group: str
    sex: str
    bmi: float
    edv: float
    ef: float
    mass: float
    length: float
    shortening: float
    rv_edv: float
    rv_ef: float
    torsion: float
    rot: float
    shift: tuple[float, float]
    fat: float
    epi_fat: float
    infarct: tuple[float, float, float] | None
    septal: float
    tr: float
    flip: float
    snr: float
    bias: float
    hr: float


@dataclass(frozen=True)
class Anatomy:
    """The random shape of one subject.

    Attributes:
        endo: (5, 3) order, amplitude and phase of the Fourier modes of the squared endocardial radius.
        epi: The same of the epicardium; orders and phases are those of `endo`.
        papillaries: Angle (radians) and radius (mm) of each papillary muscle.
        rv_angle: Direction of the right ventricle, radians.
        rv_aspect: Length of the RV crescent over its width.
        body: (4, 3) modes of the squared body outline.
        body_axes: Half axes of the body, mm.
        body_centre: Centre of the body, mm.
        lv_texture: (256, 64) trabecular texture over (angle, height) of the LV.
        rv_texture: The same of the RV.
        band: Relative height, offset and half width (mm) of the moderator band.
    """

    endo: Array
    epi: Array
    papillaries: tuple[tuple[float, float], ...]
    rv_angle: float
    rv_aspect: float
    body: Array
    body_axes: tuple[float, float]
    body_centre: tuple[float, float]
    lv_texture: Array
    rv_texture: Array
    band: tuple[float, float, float]


class _Draw:
    """One random stream with clipped normal draws."""

    def __init__(self, seed: int, stream: int) -> None:
        self.rng = np.random.default_rng([seed, stream])

    def clipped(self, mean: float, sd: float, low: float, high: float) -> float:
        # Clipped, not drawn again: the number of draws stays, so that those after it are the same.
        return float(np.clip(self.rng.normal(mean, sd), low, high))


def _group(draw: _Draw, group: str | None) -> str:
    if group is not None and group not in GROUPS:
        raise UsageError("range", "group", f"there is no group '{group}'", hint=did_you_mean(group, GROUPS))
    return group or str(draw.rng.choice(list(GROUPS), p=list(GROUPS.values())))


def _healthy(draw: _Draw, male: bool) -> dict[str, Any]:
    """Draw a healthy heart."""
    tn = draw.clipped
    edv = tn(162, 28, 95, 240) if male else tn(128, 22, 78, 190)
    ef = (tn(58, 5, 48, 70) if male else tn(61, 5, 50, 72)) / 100
    mass = (62 if male else 42) + (0.27 if male else 0.22) * edv + draw.rng.normal(0, 8)
    length = (edv / (162 if male else 128)) ** (1 / 3) * (94 if male else 86) * tn(1, 0.04, 0.9, 1.1)
    shortening = tn(0.16, 0.02, 0.11, 0.2)
    rv_edv = edv * tn(1.12, 0.08, 0.95, 1.35)
    return {"edv": edv, "ef": ef, "mass": mass, "length": length, "shortening": shortening, "rv_edv": rv_edv,
            "rv_ef": None, "septal": 0.0, "infarct": None}  # fmt: skip


def _changes(draw: _Draw, group: str, h: dict[str, Any]) -> dict[str, Any]:
    """Draw what a disease changes in the healthy heart `h`."""
    tn, uniform = draw.clipped, draw.rng.uniform
    if group == "DCM":
        edv = h["edv"] * tn(1.7, 0.2, 1.35, 2.3)
        return {"edv": edv, "ef": tn(0.27, 0.06, 0.12, 0.40), "mass": h["mass"] * 1.35,
                "shortening": h["shortening"] * 0.5, "length": h["length"] * 1.10}  # fmt: skip
    if group == "HCM":
        return {"edv": h["edv"] * 0.85, "ef": tn(0.70, 0.05, 0.58, 0.80),
                "mass": h["mass"] * tn(1.6, 0.2, 1.3, 2.1), "septal": tn(0.30, 0.08, 0.15, 0.45)}  # fmt: skip
    if group == "MINF":
        edv = h["edv"] * tn(1.3, 0.15, 1.05, 1.7)
        ef = tn(0.33, 0.05, 0.2, 0.42)
        infarct = uniform(0, 2 * np.pi), float(np.deg2rad(uniform(60, 140))), uniform(0.45, 0.7)
        return {"edv": edv, "ef": ef, "shortening": h["shortening"] * 0.7, "infarct": infarct}
    if group == "RV":
        return {"rv_edv": h["rv_edv"] * tn(1.55, 0.15, 1.3, 2.0), "rv_ef": tn(0.36, 0.05, 0.22, 0.45)}
    return {}


def _body_and_scan(draw: _Draw) -> dict[str, Any]:
    """Draw the body, the pose of the heart and the sequence parameters."""
    tn, r = draw.clipped, draw.rng
    bmi = tn(26.5, 4.2, 18, 42)
    lean = max(bmi - 18, 0)
    return {"bmi": bmi, "torsion": tn(9, 3, 2, 16), "rot": r.normal(0, 9), "shift": (r.normal(0, 5), r.normal(0, 5)),
            "fat": 6 + 1.25 * lean * r.uniform(0.6, 1.2), "epi_fat": 2.0 + 0.16 * lean, "tr": r.uniform(2.6, 3.4),
            "flip": r.uniform(50, 80), "snr": r.uniform(22, 55), "bias": r.uniform(0.35, 1.0),
            "hr": tn(66, 10, 45, 100)}  # fmt: skip


def sample_subject(seed: int, group: str | None = None) -> Subject:
    """Draw a subject from normal ranges (sex, BMI) and one of five groups.

    Args:
        seed: The subject's seed, not negative.
        group: One of `GROUPS`; drawn when None.

    Raises:
        UsageError: `range` when the group is unknown or the seed is negative.
    """
    if seed < 0:
        raise UsageError("range", "seed", f"must be 0 or more, got {seed}")
    draw = _Draw(seed, 7919)
    name = _group(draw, group)
    sex = str(draw.rng.choice(["M", "F"]))
    heart = _healthy(draw, sex == "M")
    heart |= _changes(draw, name, heart)
    if heart["rv_ef"] is None:  # both ventricles eject the same volume
        heart["rv_ef"] = float(np.clip(heart["edv"] * heart["ef"] / heart["rv_edv"], 0.2, 0.72))
    return Subject(seed=seed, group=name, sex=sex, **heart, **_body_and_scan(draw))


def sample_anatomy(subject: Subject) -> Anatomy:
    """Draw the shape of a subject's heart and body; a function of the subject alone."""
    r = np.random.default_rng([subject.seed, 104729])
    k = np.arange(2, 7)[:, None]
    # Less of the higher orders: an outline is smooth. Order 1 would move the cavity, and 0 change its area.
    endo = np.c_[k, r.normal(0, 0.05, (5, 1)) / (k - 1) ** 0.7, r.uniform(0, 2 * np.pi, (5, 1))]
    epi = endo * [1, 0.45, 1] + np.c_[0 * k, r.normal(0, 0.012, (5, 1)), 0 * k]
    papillaries = ((np.deg2rad(r.normal(-38, 9)), r.uniform(3.2, 5.0)),
                   (np.deg2rad(r.normal(98, 9)), r.uniform(3.2, 5.2)))  # fmt: skip
    rv_angle, rv_aspect = np.deg2rad(180 + r.normal(8, 8)), r.uniform(1.5, 1.85)
    body = np.c_[np.arange(2, 6), r.normal(0, 0.02, 4), r.uniform(0, 6.28, 4)]
    axes = (r.uniform(142, 165) + 0.9 * subject.fat, r.uniform(92, 106) + 0.9 * subject.fat)
    centre = (r.normal(-14, 6), r.normal(16, 5))
    q = np.random.default_rng([subject.seed, 37])
    lv_texture, rv_texture = fractal_texture(q), fractal_texture(q)
    band = (q.uniform(0.50, 0.60), q.uniform(-0.15, 0.25), q.uniform(1.3, 2.0))
    return Anatomy(endo, epi, papillaries, rv_angle, rv_aspect, body, axes, centre, lv_texture, rv_texture, band)
