"""The static part of a slice: body wall, lungs, diaphragm, abdominal organs, spine and aorta.

Later parts are painted over earlier ones; the order of the statements is the anatomy.
"""

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.phantom.kinematics import outline
from cmrgz.data.phantom.subject import Anatomy, Subject
from cmrgz.data.phantom.tissue import INDEX

Array = NDArray[np.float64]
TissueMap = NDArray[np.uint8]

_ORGANS = (("liver", -62, 70, 0), ("stomach", 64, 46, 20), ("spleen", 88, 34, 14))


def torso(subject: Subject, anatomy: Anatomy, z: float, x: Array, y: Array) -> tuple[TissueMap, Array]:
    """Return the tissue map of the slice at height `z` without the heart, and the depth below the skin in mm.

    Args:
        subject: Body mass index, fat and seed.
        anatomy: Outline of the body.
        z: Height of the slice, mm.
        x: Image coordinates, mm, any 2-D shape; to the patient's left.
        y: The same; to the back.
    """
    bx, by = x - anatomy.body_centre[0], y - anatomy.body_centre[1]
    ax, ay = anatomy.body_axes
    angle = np.arctan2(by / ay, bx / ax)
    # A superellipse: a chest is squarer than an ellipse.
    rho = (np.abs(bx / ax) ** 2.3 + np.abs(by / ay) ** 2.3) ** (1 / 2.3)
    depth: Array = (1 - rho / np.sqrt(outline(anatomy.body, angle))) * min(ax, ay)
    tissue = np.full(x.shape, INDEX["air"], np.uint8)
    chest = _paint_wall(tissue, subject, z, angle, depth)
    _paint_organs(tissue, subject, z, x, y, depth, chest)
    _paint_spine(tissue, x, y, anatomy.body_centre[0] - 14, anatomy.body_centre[1] + ay - subject.fat - 42)
    return tissue, depth


def _paint_wall(tissue: TissueMap, subject: Subject, z: float, angle: Array, depth: Array) -> Array:
    """Paint skin, fat, muscle, ribs and lung; return the depth at which the chest cavity begins."""
    fat = subject.fat * (1 + 0.25 * np.cos(2 * angle + 1))
    chest: Array = fat + (15 + 3 * np.cos(3 * angle + 2))
    tissue[depth > 0] = INDEX["fat"]
    tissue[(depth > 0) & (depth < 1.5)] = INDEX["muscle"]
    # Ribs run down and forwards: seen in planes, they wander around the chest with the height.
    muscle, ribs = depth > fat, np.cos(11 * angle + z / 14)
    tissue[muscle] = INDEX["muscle"]
    tissue[muscle & (np.abs(depth - fat - 5 - 1.5 * np.sin(9 * angle + z / 9)) < 0.9)] = INDEX["fat"]
    from_rib = np.abs(depth - fat - 10)
    tissue[(ribs > 0.35) & (from_rib < 4.2)] = INDEX["bone"]
    tissue[(ribs > 0.5) & (from_rib < 2.8)] = INDEX["marrow"]
    tissue[depth > chest] = INDEX["lung"]
    return chest


def _paint_organs(tissue: TissueMap, s: Subject, z: float, x: Array, y: Array, depth: Array, chest: Array) -> None:
    """Paint the fat pads before and below the heart and the organs below the diaphragm."""
    cavity = depth > chest
    diaphragm = 36 - 0.22 * z + 2 * np.sin(x / 17 + s.seed)  # rises towards the apex
    pad = 9 + 0.9 * max(s.bmi - 20, 0)
    wiggle = 4 * np.sin(x / 11 + 1.3 * s.seed) + 3 * np.sin(y / 9)
    anterior = (6 + 1.3 * pad + wiggle) * np.exp(-(((x + 14 + wiggle) / (20 + pad)) ** 2))
    tissue[cavity & (y < 0) & (depth < chest + anterior)] = INDEX["fat"]
    tissue[cavity & (np.hypot((x + 30) / (30 + pad), (y - diaphragm - 8) / 20) < 1)] = INDEX["fat"]
    for name, cx, width, top in _ORGANS:
        tissue[cavity & (y > diaphragm + top + ((x - cx) / width) ** 2 * 30)] = INDEX[name]


def _paint_spine(tissue: TissueMap, x: Array, y: Array, cx: float, cy: float) -> None:
    """Paint back muscle, vertebra, spinal canal and the descending aorta."""
    vertebra = np.hypot((x - cx) / 24, (y - cy) / 17)
    tissue[np.hypot((x - cx) / 46, (y - cy - 16) / 22) < 1] = INDEX["muscle"]
    tissue[vertebra < 1] = INDEX["bone"]
    tissue[vertebra < 0.9] = INDEX["marrow"]
    tissue[np.hypot(x - cx, y - cy - 25) < 8] = INDEX["csf"]
    aorta = np.hypot(x - cx - 34, y - cy + 8)
    tissue[aorta < 13.0] = INDEX["muscle"]
    tissue[aorta < 11.6] = INDEX["blood_l"]
