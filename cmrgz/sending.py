"""From the host to a device without waiting for it."""

import torch
from torch import Tensor


def sent(x: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; on a GPU it is on its way while the host goes on.

    From memory that is locked: only that is copied beside other work.
    """
    if device.type == "cpu" or x.device == device:
        return x
    # Only CUDA can lock memory, and only from locked memory is a copy asynchronous there.
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)
