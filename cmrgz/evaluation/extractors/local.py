"""Extractors whose weights the user has: a safetensors file and one of the networks here, nothing is run from a file.

TorchScript and pickles run code when they are read, and so does `torch.export`: it falls back to a full unpickling, and
gives the text of symbolic sizes to an evaluator. So a file holds tensors alone. To make one, in a trusted place:
`safetensors.torch.save_file({k: v.contiguous() for k, v in model.state_dict().items()}, "weights.safetensors")`.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz import weights
from cmrgz.errors import CheckpointError
from cmrgz.evaluation.extractors import inception, resnet, vision_transformer
from cmrgz.evaluation.extractors.batched import in_batches
from cmrgz.sending import device_of

MOST = 2 << 30  # bytes of the largest file that is read
COUNTER = "num_batches_tracked"
Features = Callable[[NDArray[Any]], NDArray[np.float32]]

MODULES = {"dinov2": vision_transformer, "resnet50": resnet, "inception": inception}
"""Where a network, its input and the tensors that it does not need are described."""


def load(name: str, path: Path, device: str = "cpu") -> tuple[Features, str]:
    """Return a function from images (n, h, w) in [0, 1] to features, and the sha256 of its safetensors file.

    Raises:
        CheckpointError: The file is missing, damaged, not safetensors, or holds other weights.
    """
    data, layout = weights.read_foreign(path, MOST)
    # Without what only classifying or training needs.
    slots = {key: slot for key, slot in layout.slots.items() if not key.startswith(MODULES[name].HEADS)}
    layout = weights.Layout({key: slot for key, slot in slots.items() if not key.endswith(COUNTER)}, layout.data)
    # layers draw weights when they are made: a sweep must not depend on which extractors it opens
    with torch.random.fork_rng(devices=[]):
        network = _network(name, layout, str(path))
    expected = {key: value for key, value in network.state_dict().items() if not key.endswith(COUNTER)}
    weights.check_expected(layout, expected, str(path))
    # not strict: counters of batches are missing in some files, all else was compared above
    network.load_state_dict(weights.tensors(data, layout, str(path)), strict=False)
    network.requires_grad_(False).eval().to(device)
    return partial(_features, network, MODULES[name]), hashlib.sha256(data).hexdigest()


def _network(name: str, layout: weights.Layout, where: str) -> nn.Module:
    if name != "dinov2":
        return resnet.ResNet50() if name == "resnet50" else inception.Inception()
    # the bounds keep a header that lies from building a network of any size
    token = layout.slots.get("embeddings.cls_token")
    depth = sum(key.endswith(".norm1.weight") for key in layout.slots)
    if token is None or len(token.shape) != 3 or not 0 < token.shape[2] <= 1536 or token.shape[2] % 64 or depth > 40:
        what = "not the tensors of DINOv2: no class token of a width that is a multiple of 64"
        raise CheckpointError("unexpected-keys", where, what)
    return vision_transformer.DinoV2(token.shape[2], depth)


def _features(network: nn.Module, module: Any, images: NDArray[Any]) -> NDArray[np.float32]:
    """Return (n, d) of images (n, h, w) in [0, 1]; bits do not depend on the others."""
    device = device_of(network)
    # grey becomes three colours by the standardisation, which broadcasts
    mean, spread = (torch.tensor(values).view(1, 3, 1, 1).to(device) for values in (module.MEAN, module.SPREAD))

    def of_photographs(x: Tensor) -> Tensor:
        y: Tensor = network((F.interpolate(x, (module.SIDE, module.SIDE), mode="bilinear") - mean) / spread)
        return y

    return in_batches(of_photographs, images, device)
