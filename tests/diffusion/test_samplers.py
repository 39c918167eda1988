"""The solvers against diffusers' own, step for step, and against a distribution whose moments are known."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from cmrgz.diffusion.levels import DiffusionPath, FlowPath, Level, Path
from cmrgz.diffusion.samplers import SAMPLERS
from cmrgz.rng import Streams
from cmrgz.testing.mixtures import Mixture, mixture_model

SHAPE = (2, 3, 8, 8)


def streams(n: int) -> Streams:
    return Streams(0, [(i,) for i in range(n)])


def denoise(z: Tensor, level: Level) -> Tensor:
    """E[x | z] of two Gaussians at -1 and 1 with standard deviation 0.3, each number by itself."""
    a, variance = level.signal, level.ab * 0.09 + 1 - level.ab
    right = torch.sigmoid(2 * a * z / variance)
    centre = 2 * right - 1
    return centre + 0.09 * a / variance * (z - a * centre)


def start() -> Tensor:
    return torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def noises() -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(1)
    return lambda: torch.randn(SHAPE, dtype=torch.float64, generator=generator)


def ours(name: str, levels: tuple[Level, ...], eta: float = 0.0) -> Tensor:
    return SAMPLERS[name](denoise, start(), levels, noises(), lambda: None, eta)


def theirs(scheduler: Any, steps: int, **options: Any) -> Tensor:
    """Run a scheduler of diffusers on the same denoiser, as a network that predicts the data."""
    path = DiffusionPath("linear")
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.set_timesteps(steps)
    z = start()
    for t in scheduler.timesteps:
        z = scheduler.step(denoise(z, path.level(float(t))), t, z, **options).prev_sample
    return z


COMMON = {"num_train_timesteps": 1000, "prediction_type": "sample", "timestep_spacing": "trailing"}


@pytest.mark.parametrize("steps", [5, 20])
def test_ddim_is_that_of_diffusers(steps: int) -> None:
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=True, **COMMON)
    torch.testing.assert_close(
        ours("ddim", DiffusionPath("linear").levels(steps)), theirs(scheduler, steps), rtol=1e-5, atol=1e-5
    )


def test_ancestral_steps_are_those_of_diffusers() -> None:
    draw = noises()
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=True, **COMMON)
    path, z = DiffusionPath("linear"), start()
    scheduler.set_timesteps(20)
    for t in scheduler.timesteps[:-1]:
        z = scheduler.step(denoise(z, path.level(float(t))), t, z, eta=1.0, variance_noise=draw()).prev_sample
    z = denoise(z, path.level(float(scheduler.timesteps[-1])))
    torch.testing.assert_close(ours("ddpm", path.levels(20)), z, rtol=1e-4, atol=1e-4)


def test_ancestral_steps_have_the_moments_of_ddpm() -> None:
    """Without respacing, mean and variance are those of the posterior of Ho et al. 2020, eq. 7."""
    scheduler, path = DDPMScheduler(1000), DiffusionPath("linear")
    here, there = path.level(600.0), path.level(599.0)
    beta = 1 - here.ab / there.ab
    x0, z = torch.tensor([0.3]), torch.tensor([-0.8])
    mean = there.signal * beta / (1 - here.ab) * x0 + (1 - beta) ** 0.5 * (1 - there.ab) / (1 - here.ab) * z
    from cmrgz.diffusion.samplers import step

    got = [step(z, x0, here, there, 1.0, lambda e=e: torch.tensor([e])) for e in (0.0, 1.0)]  # type: ignore[misc]
    torch.testing.assert_close(got[0], mean)
    variance = float(scheduler._get_variance(600, None))
    assert float(got[1] - got[0]) ** 2 == pytest.approx(variance, rel=1e-3)


quiet = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside diffusers


@quiet
@pytest.mark.parametrize("steps", [5, 15, 20])
def test_dpm_is_that_of_diffusers(steps: int) -> None:
    options = {"algorithm_type": "dpmsolver++", "solver_order": 2, "final_sigmas_type": "zero", "euler_at_final": True}
    expected = theirs(DPMSolverMultistepScheduler(**options, **COMMON), steps)
    torch.testing.assert_close(ours("dpm", DiffusionPath("linear").levels(steps)), expected, rtol=1e-4, atol=1e-4)


@quiet
@pytest.mark.parametrize("steps", [5, 20])
def test_unipc_is_that_of_diffusers(steps: int) -> None:
    options = {"solver_order": 2, "solver_type": "bh2", "final_sigmas_type": "zero", "lower_order_final": True}
    expected = theirs(UniPCMultistepScheduler(**options, **COMMON), steps)
    torch.testing.assert_close(ours("unipc", DiffusionPath("linear").levels(steps)), expected, rtol=1e-4, atol=1e-4)


def test_euler_is_that_of_flow_matching() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(1000)
    scheduler.set_timesteps(10, sigmas=[1 - i / 10 for i in range(10)])
    path, z = FlowPath(), start()
    for t, s in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        level = path.level(float(t))
        x0 = denoise(z * (level.signal + level.noise), level)
        z = scheduler.step((z - x0) / s, t, z).prev_sample
    torch.testing.assert_close(ours("euler", path.levels(10)), z.double(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_calls_are_counted(name: str) -> None:
    calls, ticks = 0, 0

    def counted(z: Tensor, level: Level) -> Tensor:
        nonlocal calls
        calls += 1
        return denoise(z, level)

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    SAMPLERS[name](counted, start(), DiffusionPath().levels(7), noises(), tick, 0.0)
    assert (calls, ticks) == (13 if name == "heun" else 7, 7)


@pytest.mark.parametrize("name", ["dpm", "unipc", "trig", "heun"])
def test_solvers_of_second_order_converge_faster(name: str) -> None:
    path = FlowPath()
    exact = ours("heun", path.levels(400))
    errors = {n: (ours(n, path.levels(20)) - exact).norm() for n in (name, "euler")}
    assert errors[name] < 0.3 * errors["euler"]


@pytest.mark.parametrize("path", [DiffusionPath(), DiffusionPath("linear"), FlowPath()])
def test_trig_leaves_standard_normal_data_alone(path: Path) -> None:
    """Their expected data is a z, and the start is the draw, in any number of steps; `dpm` narrows it."""

    def normal(z: Tensor, level: Level) -> Tensor:
        return level.signal * z

    for steps in (1, 4):
        trig, dpm = (
            SAMPLERS[s](normal, start(), path.levels(steps), noises(), lambda: None, 0.0) for s in ("trig", "dpm")
        )
        torch.testing.assert_close(trig, start(), rtol=1e-6, atol=1e-6)
        assert dpm.std() < 0.9 * start().std()


@pytest.mark.parametrize("objective", ["v", "eps", "x0", "flow"])
@pytest.mark.parametrize(
    ("sampler", "steps"), [("ddpm", 100), ("dpm", 30), ("unipc", 30), ("trig", 30), ("heun", 20), ("euler", 100)]
)
def test_unconditional_samplers_are_unbiased(objective: Any, sampler: str, steps: int) -> None:
    """Mean and covariance of what is drawn are those of the distribution, for a network without error."""
    mixture = Mixture.rings(8)
    model, n = mixture_model(mixture, objective), 1500
    nothing = torch.zeros(n, 1, 8, 8, dtype=torch.bool)
    drawn = model.sample(torch.zeros(n, 1, 8, 8), nothing, rng=streams(n), sampler=sampler, steps=steps)
    drawn = drawn.flatten(1).double()
    covariance = mixture.covariance
    noise = covariance.diagonal().sum().sqrt() / n**0.5
    assert (drawn.mean(0) - mixture.mean).norm() < 2.5 * noise
    generator = torch.Generator().manual_seed(0)
    ideal = torch.stack([_distance(mixture.sample(n, generator), covariance) for _ in range(8)]).max()
    assert _distance(drawn, covariance) < 1.5 * ideal


def _distance(drawn: Tensor, covariance: Tensor) -> Tensor:
    return (torch.cov(drawn.T) - covariance).norm()
