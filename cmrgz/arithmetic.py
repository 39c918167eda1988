"""How exactly a device computes, and whether it does so again.

On the CPU none of this changes anything but `bf16`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

Precision = Literal["fp32", "bf16"]
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACE = ":4096:8"
"""Of cuBLAS: with others its sums may come in another order each time."""


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which networks compute at a precision, `fp32` or `bf16`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def exact() -> Iterator[None]:
    """Let products of float32 on a GPU have all their bits, as on the CPU; usually convolutions are cut to TF32."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = False
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


@contextmanager
def repeatable(device: torch.device | str) -> Iterator[None]:
    """Let the same work on a GPU give the same bits each time, exact ones; what cannot be so is refused by torch.

    To be entered before anything is computed on it: cuBLAS reads its variable once. On the CPU it is so anyway.
    """
    if torch.device(device).type in ("cpu", "mps"):
        yield
        return
    # What the user has set stays: torch itself refuses a value that cannot repeat.
    os.environ.setdefault(CUBLAS, WORKSPACE)
    convolutions = torch.backends.cudnn
    memory: Any = torch.utils.deterministic  # what it has is not in its stubs
    before = torch.are_deterministic_algorithms_enabled(), convolutions.deterministic, convolutions.benchmark
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    # A benchmark picks the fastest kernel by a stopwatch, so that another run may pick another.
    convolutions.deterministic, convolutions.benchmark = True, False
    memory.fill_uninitialized_memory = False  # a kernel for each new tensor, which nothing reads before it is written
    try:
        with exact():
            yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        convolutions.deterministic, convolutions.benchmark = before[1:]
        memory.fill_uninitialized_memory = filled
