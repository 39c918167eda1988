"""Every parametrisation gives back the data, at every level."""

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from cmrgz.diffusion.objectives import OBJECTIVES

names = pytest.mark.parametrize("name", list(OBJECTIVES))


@names
@given(st.floats(1e-3, 1 - 1e-3), st.integers(0, 99))
def test_a_perfect_prediction_gives_the_data(name: str, ab: float, seed: int) -> None:
    x, e = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    a, s = ab**0.5, (1 - ab) ** 0.5
    objective = OBJECTIVES[name]
    torch.testing.assert_close(objective.to_x0(objective.target(x, e, a, s), a * x + s * e, a, s), x)


def test_velocity_is_that_of_diffusers() -> None:
    scheduler = DDPMScheduler(1000)
    x, e, t = torch.randn(3, 4, 5), torch.randn(3, 4, 5), torch.tensor([3, 500, 990])
    ab = scheduler.alphas_cumprod[t][:, None, None]
    ours = OBJECTIVES["v"].target(x, e, ab.sqrt(), (1 - ab).sqrt())
    torch.testing.assert_close(ours, scheduler.get_velocity(x, e, t))


def test_a_flow_network_sees_the_straight_path() -> None:
    x, e, s = torch.randn(3), torch.randn(3), 0.3
    norm = ((1 - s) ** 2 + s**2) ** 0.5
    a, n = (1 - s) / norm, s / norm
    torch.testing.assert_close(OBJECTIVES["flow"].enter(a * x + n * e, a, n), (1 - s) * x + s * e)


@pytest.mark.parametrize("name", ["v", "eps", "x0"])
def test_min_snr_weighs_the_error_of_the_data_alike(name: str) -> None:
    """Whatever is predicted, an error d of x0 counts min(snr, gamma) d**2."""
    snr = torch.logspace(-3, 3, 13, dtype=torch.float64)
    a, s = (snr / (1 + snr)).sqrt(), (1 / (1 + snr)).sqrt()
    objective = OBJECTIVES[name]
    x, e, d = torch.ones(13, dtype=torch.float64), torch.full((13,), 0.5, dtype=torch.float64), 0.01
    z = a * x + s * e
    wrong = objective.target(x + d, (z - a * (x + d)) / s, a, s)
    error = (wrong - objective.target(x, e, a, s)).square() * objective.weight(snr, 5.0)
    torch.testing.assert_close(error, snr.clamp(max=5) * d**2)
