"""The segmenter's weights <-> a safetensors file in half precision."""

import hashlib
from pathlib import Path

import torch

from cmrgz import weights
from cmrgz.anatomy.segmenter.network import SegmentationUNet
from cmrgz.durable import atomic_write

MOST = 4 << 20
"""Bytes of the largest file that is read."""


def load(path: Path) -> tuple[SegmentationUNet, str]:
    """Return the network and the sha256 of its file.

    Raises:
        CheckpointError: The file is missing, damaged, or holds other weights.
    """
    data = weights.read_bytes(path, MOST)
    layout = weights.inspect(data, str(path))
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, though none of them stays
        network = SegmentationUNet()
    weights.check_expected(layout, network.state_dict(), str(path))
    network.load_state_dict(weights.tensors(data, layout, str(path)))
    return network.eval(), hashlib.sha256(data).hexdigest()


def save(path: Path, network: SegmentationUNet) -> None:
    """Write the weights, whole or not at all.

    Raises:
        CheckpointError: `nonfinite`.
        ResourceError: As `durable.atomic_write`.
    """
    atomic_write(path, weights.dump(network.state_dict(), torch.float16))
