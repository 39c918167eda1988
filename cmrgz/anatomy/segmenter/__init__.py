"""The segmenter: which pixels of a frame are heart, and features of what it sees.

A small U-Net whose weights are bundled. It was trained on phantoms and on two real scans (Sunnybrook Cardiac Data,
CC0, Radau et al. 2009, hdl:10380/3070) with `examples/train_segmenter.py`; figures for held-out subjects stand in
examples/README.md. No real scan had labels of the right ventricle: in patients trust the left ventricle and its wall,
not the right one, which is often cut short or missed towards the apex, and nothing above the base. For other scans
train one on own labels.
"""

from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.anatomy.segmenter.components import largest_components
from cmrgz.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from cmrgz.anatomy.segmenter.network import SegmentationUNet

__all__ = ["Segmenter", "largest_components"]

Labels = NDArray[np.uint8]
BATCH = 8
"""Frames a call of the network, always: bits must not depend on how many frames come together."""
MULTIPLE = 16
"""What the sides of a frame are multiples of."""


class Segmenter:
    """A network that labels frames; made by `Segmenter.open`.

    Attributes:
        sha256: Of the file of its weights.
        device: Where it runs.
    """

    def __init__(self, network: "SegmentationUNet", sha256: str, device: str = "cpu") -> None:
        self._network = network.eval().to(device)
        self.sha256, self.device = sha256, device

    @classmethod
    def open(cls, path: str | Path | None = None, device: str = "cpu") -> "Segmenter":
        """Return the bundled segmenter, or that of a weights file of `examples/train_segmenter.py`.

        Raises:
            CheckpointError: The file is missing, damaged, or holds other weights.
        """
        from cmrgz.anatomy.segmenter.stored import load

        if path is not None:
            return cls(*load(Path(path)), device)
        with as_file(files("cmrgz.anatomy") / "weights" / "segmenter.safetensors") as bundled:
            return cls(*load(bundled), device)

    def segment(self, images: NDArray[Any], clean: bool = True) -> Labels:
        """Return the labels of frames: 0 background, 1 right ventricle, 2 myocardium, 3 left ventricle.

        Args:
            images: (n, h, w) in [0, 1], heart-centred, pixels of about 1.4 mm; h and w are multiples of 16.
            clean: Keep the largest piece of each class alone (`largest_components`), as volumes need it. Rules about
                what a heart looks like, such as that it has one left ventricle, need False.

        Returns:
            (n, h, w) uint8. The bits of a frame do not depend on the others.

        Raises:
            DataError: `shape-mismatch` or `nonfinite`.
        """
        labels = self._each(images, lambda x: self._network(x).argmax(1)).astype(np.uint8)
        return largest_components(labels) if clean else labels

    def features(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return the extractor `segmenter`: (n, 96), the means of the network's coarsest maps.

        Args:
            images: As for `segment`.

        Raises:
            DataError: `shape-mismatch` or `nonfinite`.
        """
        return self._each(images, self._network.features).astype(np.float32)

    def _each(self, images: NDArray[Any], function: "Callable[[Tensor], Tensor]") -> NDArray[Any]:
        """Return what a function of frames (n, 1, h, w) gives, in calls of one size, padded with empty frames."""
        import torch

        from cmrgz.arithmetic import exact

        _check(images)
        parts = []
        for start in range(0, max(len(images), 1), BATCH):  # once for no images, which gives the shape of the result
            x = np.zeros((BATCH, 1, *images.shape[1:]), np.float32)
            given = images[start : start + BATCH]
            x[: len(given), 0] = given
            with torch.inference_mode(), exact():  # products of float32 keep their bits on a GPU, too
                y = function(torch.from_numpy(x).to(self.device))
            parts.append(y[: len(given)].cpu().numpy())
        return np.concatenate(parts)


def _check(images: NDArray[Any]) -> None:
    if images.ndim != 3 or 0 in images.shape[1:] or any(side % MULTIPLE for side in images.shape[1:]):
        what = f"frames must be (n, h, w), h and w multiples of {MULTIPLE}"
        raise DataError("shape-mismatch", "segmenter", what, f"{images.shape}")
    if not np.isfinite(images).all():
        raise DataError("nonfinite", "segmenter", "a frame has a value that is NaN or infinite")
