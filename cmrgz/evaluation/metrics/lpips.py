"""LPIPS, for those who have its weights: nothing is downloaded, and without them it is not in the table.

The environment variable CMRGZ_LPIPS names a safetensors file of AlexNet's features and the weights of their channels.
To make one, where torchvision and torchmetrics (it ships the channel weights) are installed, in a trusted place:

    folder = pathlib.Path(torchmetrics.__file__).parent / "functional/image/lpips_models"
    channels = torch.load(folder / "alex.pth", weights_only=True)
    network = torchvision.models.alexnet(weights="DEFAULT").state_dict()
    network = {name: value for name, value in network.items() if name.startswith("features.")}
    safetensors.torch.save_file(network | channels, "lpips.safetensors")
"""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

from cmrgz.evaluation.metrics.base import Floats, Metric, Sampled

VARIABLE = "CMRGZ_LPIPS"
SMALLEST = 31


def lpips(frame: Sampled, path: str) -> float:
    """Return the mean LPIPS distance of the samples to the truth, over the whole frame; 0 for equal ones.

    NaN for a frame of less than 31 pixels, of which the network leaves nothing. Its weights are read at the first call.

    Raises:
        CheckpointError: The file is missing, damaged, not safetensors, or holds other weights.
    """
    if min(frame.truth.shape) < SMALLEST:
        return float("nan")
    return float(_opened(path)(frame.samples, frame.truth).mean())


@lru_cache(maxsize=1)
def _opened(path: str) -> Callable[[Floats, Floats], Floats]:
    from cmrgz.evaluation.metrics.lpips_network import load

    return load(Path(path))


def metrics(path: str | None) -> tuple[Metric, ...]:
    """Return the metric on weights from a file, none without one."""
    return (Metric("lpips-whole", partial(lpips, path=path), "lower", cite="arXiv:1801.03924"),) if path else ()
