"""The two paths, against diffusers and against each other."""

import math

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from cmrgz.diffusion.levels import CLEAN, DiffusionPath, FlowPath, Level, make_path


@given(st.integers(1, 1000), st.sampled_from(["cosine", "linear", "scaled_linear", "flow"]))
def test_levels_run_from_noise_to_data(steps: int, name: str) -> None:
    path = FlowPath() if name == "flow" else DiffusionPath(name)  # type: ignore[arg-type]
    levels = path.levels(steps)
    assert len(levels) == steps + 1 and levels[-1] is CLEAN
    abs_ = [level.ab for level in levels]
    assert all(a <= b for a, b in zip(abs_, abs_[1:], strict=False)) and abs_[0] < 0.006 and abs_[-1] == 1
    assert all(math.isclose(level.signal**2 + level.noise**2, 1) for level in levels)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("cosine", {"beta_schedule": "squaredcos_cap_v2"}),
        ("linear", {"beta_schedule": "linear"}),
        ("scaled_linear", {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}),
    ],
)
def test_a_diffusion_has_the_levels_of_diffusers(name: str, theirs: dict[str, str]) -> None:
    scheduler = DDPMScheduler(1000, timestep_spacing="trailing", **theirs)
    scheduler.set_timesteps(50)
    ours = DiffusionPath(name).levels(50)[:-1]  # type: ignore[arg-type]
    assert [level.time for level in ours] == scheduler.timesteps.tolist()
    expected = scheduler.alphas_cumprod[scheduler.timesteps].clamp(min=1e-5)
    torch.testing.assert_close(torch.tensor([level.ab for level in ours]), expected)


def test_a_flow_is_a_straight_line() -> None:
    """(1 - s) x + s e, scaled to unit variance."""
    for level in FlowPath().levels(10)[1:-1]:
        s = level.time / 1000
        assert level.signal / (level.signal + level.noise) == pytest.approx(1 - s)


def test_a_shift_spends_steps_on_noise() -> None:
    plain, shifted = FlowPath().levels(8), FlowPath(3.0).levels(8)
    assert all(a.ab >= b.ab for a, b in zip(plain, shifted, strict=True)) and plain[4].ab > shifted[4].ab


def test_training_levels_cover_the_path() -> None:
    u, normal = torch.rand(4000), torch.randn(4000)
    for objective in ("v", "flow"):
        path = make_path(objective)
        time = path.draw(u, normal)
        assert time.min() >= 0 and time.max() < 1000
        assert 450 < time.mean() < 550
        ab = path.ab(time)
        assert ((ab > 0) & (ab < 1)).all()
    assert torch.equal(make_path("v").draw(u, normal), (u * 1000).floor())


def test_log_snr_is_infinite_for_data_alone() -> None:
    assert CLEAN.log_snr == math.inf and Level(0.5, 1).log_snr == pytest.approx(0)
