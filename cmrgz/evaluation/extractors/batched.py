"""Images through a network in calls of one size, whoever comes together."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmrgz.arithmetic import exact
from cmrgz.sending import sent

SIZES = {"cpu": 1}
"""Images a call by type of device. Of one size each, so that the bits of an image do not depend on the others. On a CPU
more together are hardly faster, and would change the last bits."""
SIZE = 32
"""Images a call on all others."""


def in_batches(network: Callable[[Tensor], Tensor], images: NDArray[Any], device: torch.device) -> NDArray[np.float32]:
    """Return what a network on a device makes of images.

    Args:
        network: From (b, 1, h, w) float32 to (b, d).
        images: (n, h, w).
        device: Where it is.

    Returns:
        (n, d) float32. The last call is padded by repeating the last image.
    """
    size, x = SIZES.get(device.type, SIZE), torch.from_numpy(np.array(images, np.float32))[:, None]
    index = torch.arange(-(-len(x) // size) * size).clamp(max=len(x) - 1)
    with torch.inference_mode(), exact():
        made = torch.cat([network(sent(part, device)) for part in x[index].split(size)])
    found: NDArray[np.float32] = made.cpu().numpy()[: len(x)]
    return found
