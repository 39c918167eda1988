"""Where to compute, and checks of numbers that several commands take."""

import os

from cmrgz.errors import ResourceError, UsageError


def range_checked(option: str, value: int, low: int, high: int) -> int:
    """Return a number that an option was given.

    Raises:
        UsageError: `range` outside of low .. high.
    """
    # Not by Typer's min and max: there a number of 20 digits is of the wrong type, not out of range.
    if not low <= value <= high:
        raise UsageError("range", f"option {option}", f"must be {low} .. {high}", f"got {value}")
    return value


def available() -> list[str]:
    """Return the devices of this machine, the fastest kind first."""
    import torch

    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def pick(device: str) -> str:
    """Return the device to compute on: `auto` takes the first there is, `gpu[:N]` is `cuda[:N]`.

    Of the processes that `torchrun` started on a machine each has a GPU of its own.

    Raises:
        ResourceError: `device`: it is not there. Never falls back to another.
    """
    there = available()
    # Of several GPUs the bare name: which of them is this process's is settled below.
    if device == "auto":
        device = "cuda" if there[0].startswith("cuda") else there[0]
    name = device.replace("gpu", "cuda", 1) if device.startswith("gpu") else device
    name = f"cuda:{_own_gpu()}" if name == "cuda" else name
    # Never the CPU instead: what was to take an hour would take a week, and nothing would say why.
    if name not in there:
        raise ResourceError("device", "option --device", f"no device '{name}'", f"there are: {', '.join(there)}")
    return name


def _own_gpu() -> int:
    """Return the number of the GPU that is this process's."""
    # Set by torchrun; the processes of other machines have the same numbers, and GPUs of their own.
    local = os.environ.get("LOCAL_RANK", "")
    return int(local) if local.isascii() and local.isdigit() else 0
