"""On which device a module is, and from the host to it without waiting."""

import torch
from torch import Tensor, nn


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module; that of one without weights is the CPU."""
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def sent(x: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; on a GPU it is on its way while the host goes on.

    From memory that is locked: only that is copied beside other work.
    """
    if device.type == "cpu" or x.device == device:
        return x
    # Only CUDA can lock memory, and only from locked memory is a copy asynchronous there.
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)
