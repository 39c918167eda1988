"""What sampling costs beside the network, and beside the loop of diffusers.

    python examples/sampling_speed.py [--models ldm-unet ldm-dit ...] [--batch 16] [--steps 20] [--device cpu]

For each model: time of a generation, the share of it that is spent outside the network (streams of noise, solver,
tokenizer apart), and the same network and number of steps driven by diffusers' own scheduler, all in one run. Random
weights do, so no training is needed.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler

from cmrgz import checkpoint, registry
from cmrgz.diffusion.model import LatentDiffusion
from cmrgz.diffusion.objectives import OBJECTIVES, Flow
from cmrgz.rng import Streams
from cmrgz.sending import device_of

OBJECTIVE_NAMES = {"v": "v_prediction", "eps": "epsilon", "x0": "sample", "flow": "flow_prediction"}


class Clock:
    """Adds up the time of a network's calls."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.total, self.start = 0.0, 0.0
        network.register_forward_pre_hook(self._begin)
        network.register_forward_hook(self._end)

    def _begin(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def _end(self, *_: Any) -> None:
        self.total += time.perf_counter() - self.start


def theirs(model: LatentDiffusion, batch: int, steps: int) -> torch.Tensor:
    """Generate with diffusers' DPM-Solver++(2M) as its pipelines do."""
    kind = next(name for name, objective in OBJECTIVES.items() if objective is model.objective)
    flow = {"use_flow_sigmas": True} if isinstance(model.objective, Flow) else {}
    scheduler = DPMSolverMultistepScheduler(
        prediction_type=OBJECTIVE_NAMES[kind],
        beta_schedule="squaredcos_cap_v2",
        timestep_spacing="trailing",
        final_sigmas_type="zero",
        **flow,
    )
    scheduler.set_timesteps(steps)
    device = device_of(model)
    z = torch.randn(batch, model.tokenizer.channels, 16, 16, device=device)
    nothing = torch.zeros(batch, model.tokenizer.channels + 1, 16, 16, device=device)
    for t in scheduler.timesteps:
        output = model.network(torch.cat([z, nothing], 1), t.expand(batch).float().to(device), None)
        z = scheduler.step(output, t, z).prev_sample
    return model.tokenizer.decode(z)


def timed(run: Callable[[], Any]) -> float:
    """Return the time of a run in seconds."""
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def best(runs: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Return the least time of each run, taken in turns, so that a busy machine slows all alike."""
    return [min(times) for times in zip(*([timed(run) for run in runs] for _ in range(repeats)), strict=True)]


def measure(name: str, batch: int, steps: int, repeats: int, device: str) -> None:
    """Print the row of a model."""
    tokenizer, _ = checkpoint.open_tokenizer("kl")
    model = registry.build_model(registry.get_model(name), tokenizer, {}).eval().to(device)
    assert isinstance(model, LatentDiffusion)
    x = torch.zeros(batch, 1, 128, 128, device=device)
    nothing = torch.zeros_like(x, dtype=torch.bool)

    def ours() -> None:
        rng = Streams(0, [(i,) for i in range(batch)])
        model.sample(x, nothing, rng=rng, steps=steps)

    def decode() -> None:
        model.tokenizer.decode(torch.zeros(batch, 16, 16, 16, device=device))

    with torch.inference_mode():
        ours()
        seconds, other, decoding = best([ours, lambda: theirs(model, batch, steps), decode], repeats)
        clock = Clock(model.network)
        whole = timed(ours)
    outside = (whole - clock.total - decoding) / whole
    print(
        f"{name:10s} {1000 * seconds / batch:7.1f} ms an item   outside network and decoder {100 * outside:4.1f} %   "
        f"diffusers' loop {1000 * other / batch:7.1f} ms ({other / seconds:.2f}x ours)",
        flush=True,
    )


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="*", default=["ldm-unet", "ldm-dit", "flow-dit"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    for name in given.models:
        measure(name, given.batch, given.steps, given.repeats, given.device)


if __name__ == "__main__":
    main()
