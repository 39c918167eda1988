"""Inpaint a scan from Python: hide half of it, draw it back four times, and look at where the draws disagree.

python examples/inpaint_api.py [SCAN]
"""

import sys
from pathlib import Path

import numpy as np

from cmrgz import checkpoint, tasks
from cmrgz.data import masks, scan


def main(path: Path) -> None:
    """Inpaint the scan at `path` and print what is known of the result."""
    image = scan.load(path)
    known = masks.parse("patch:0.5").draw(image.shape, seed=0)
    model, _ = checkpoint.open_model("ar-vq")
    drawn = tasks.inpaint(model, image, known, tasks.Setting(seed=0, samples=4))

    hidden = ~known
    error = np.abs(drawn.mean - image.voxels)[hidden]
    print(f"hidden: {hidden.mean():.0%} of {image.shape} voxels")
    print(f"mean error of the mean where hidden: {error.mean():.1f} (99.5th percentile {drawn.scale.high:.0f})")
    print(f"mean standard deviation there: {drawn.std[hidden].mean():.1f}; where known: {drawn.std[known].max():.1f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("phantom.nii.gz"))
