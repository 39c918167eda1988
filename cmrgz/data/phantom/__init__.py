"""The built-in phantom: an analytic short-axis cine with exact truth, deterministic in (seed, z, t).

Use it for software correctness, exact volumes and Dice, calibration and trends over the mask ratio. It is not a
substitute for patients: set-level metrics do not transfer.
"""

from cmrgz.data.phantom.kinematics import contraction
from cmrgz.data.phantom.render import Phantom, label_truth
from cmrgz.data.phantom.subject import GROUPS, Subject, sample_subject

__all__ = ["GROUPS", "Phantom", "Subject", "contraction", "label_truth", "sample_subject"]
