"""Where to compute, and checks of numbers that several commands take."""

from cmrgz.errors import ResourceError, UsageError


def range_checked(option: str, value: int, low: int, high: int) -> int:
    """Return a number that an option was given.

    Raises:
        UsageError: `range` outside of low .. high.
    """
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

    Raises:
        ResourceError: `device`: it is not there. Never falls back to another.
    """
    there = available()
    if device == "auto":
        return there[0]
    name = device.replace("gpu", "cuda", 1) if device.startswith("gpu") else device
    name = "cuda:0" if name == "cuda" else name
    if name not in there:
        raise ResourceError("device", "option --device", f"no device '{device}'", f"there are: {', '.join(there)}")
    return name
