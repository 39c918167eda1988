"""The tissues: proton density, T1 and T2 at 1.5 T.

Values of XCAT-to-MR (Wissmann et al., MRXCAT, JCMR 2014) where it has them; T2 of blood and fat is raised over MRXCAT's
own, which gives the blood-to-myocardium contrast of real cine (3.4 : 1).
"""

TISSUE: dict[str, tuple[float, float, float]] = {
    "air": (0.0, 1000, 50),
    "lung": (0.12, 1200, 35),
    "fat": (0.70, 330, 100),
    "muscle": (0.80, 985, 40),
    "myo": (0.80, 1000, 48),
    "blood_l": (0.95, 1500, 250),
    "blood_r": (0.95, 1500, 190),
    "liver": (0.90, 590, 46),
    "spleen": (0.88, 1057, 79),
    "marrow": (0.55, 549, 49),
    "bone": (0.05, 250, 5),
    "csf": (0.62, 4200, 1500),
    "stomach": (0.85, 1100, 75),
    "peri": (0.30, 900, 18),
    "infarct": (0.82, 1150, 55),
}
"""Name -> (proton density, T1 in ms, T2 in ms)."""

INDEX = {name: i for i, name in enumerate(TISSUE)}
"""Name -> number in a tissue map."""
