"""The checks on blocks: an honest model of blocks passes, and hostile ones are caught by those meant for them."""

from collections.abc import Callable
from typing import Any

import pytest

from cmrgz.testing.conformance import checks_of, outcome, run_checks
from cmrgz.testing.subject import BLOCK, FRAME, Subject, items, known_part

SPEC = """
from cmrgz.plugin import ModelSpec
SPEC = ModelSpec(name="hostile", family="test", summary="a model that breaks a promise", build="hostile_model:build",
                 tiny={"width": 8}, conditions=())
"""
MODEL = '''"""A Gaussian about the smoothest continuation of blocks or frames; a network learns its mean and spread."""

from typing import Annotated

import torch
from torch import Tensor, nn

from cmrgz.continuation import Links, continuation
from cmrgz.hints import places
from cmrgz.latents import framewise, lift, position_pixels, training_known
from cmrgz.model import Condition, Model, Progress
from cmrgz.options import Axes, Range
from cmrgz.rng import Streams

PATCH = 16


class Hostile(Model):
    def __init__(self, width: int, axes: str) -> None:
        super().__init__()
        self.axes = axes
        self.network = nn.Sequential(nn.Conv2d(2, width, 5, padding=2), nn.SiLU(), nn.Conv2d(width, 2, 5, padding=2))

    def seen(self, x: Tensor) -> Tensor:
        return x[:, :, None, None] if self.axes == "yx" else lift(x, self.axes)

    def predict(self, x: Tensor, known: Tensor, condition: Condition | None) -> tuple[Tensor, Tensor]:
        filled = continuation(x, known, Links.of(*places(condition, x)), 8)
        out = framewise(self.network, torch.cat([filled, known.to(x.dtype)], 1)).float()
        change, log_std = out.chunk(2, 1)
        return filled + change, log_std.clamp(-5, 1)

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        x = self.seen(x)
        grid = (*x.shape[2:4], x.shape[4] // PATCH, x.shape[5] // PATCH)
        known = position_pixels(training_known(grid, rng), PATCH).to(x.device)
        mean, log_std = self.predict(x, known, condition)
        nll = ((x - mean) / log_std.exp()).square() / 2 + log_std
        return nll[~known].mean()

    @torch.no_grad()
    def sample(
        self,
        x: Tensor,
        known: Tensor,
        *,
        condition: Condition | None = None,
        rng: Streams,
        progress: Progress | None = None,
        temperature: Annotated[float, "spread of what is drawn; 0 is the mean", Range(0, 10)] = 1.0,
    ) -> Tensor:
        shape, x, known = x.shape, self.seen(x), self.seen(known)
        mean, log_std = self.predict(x, known, condition)
        noise = rng.normal(*x.shape[1:]).to(x.device)
        if progress is not None:
            progress(1, 1)
        out = mean + temperature * log_std.exp() * noise
        return out.view(shape)


def build(width: Annotated[int, "channels of the network", Range(1, 1024)] = 32, axes: Axes = "yx") -> Hostile:
    return Hostile(width, axes)
'''
OUT = "        out = mean + temperature * log_std.exp() * noise\n"
PREDICT = "        mean, log_std = self.predict(x, known, condition)\n        noise"
FILLED = "        filled = continuation(x, known, Links.of(*places(condition, x)), 8)\n"


def after(code: str) -> tuple[str, str]:
    """Return what to replace so that `code` runs once the result is there."""
    return OUT, f"{OUT}{code}"


def before(code: str) -> tuple[str, str]:
    """Return what to replace so that `code` runs between prediction and noise."""
    return PREDICT, PREDICT.replace("        noise", f"{code}        noise")


HOSTILE: dict[str, tuple[tuple[str, str], tuple[str, ...]]] = {
    "hidden voxels of the next phase": (
        after("        out = out + 0.1 * x.roll(1, 2) * (x.shape[2] > 1)\n"),
        ("no_peek", "no_peek_through_frames"),
    ),
    "hidden voxels of the next slice": (
        after("        out = out + 0.1 * x.roll(1, 3) * (x.shape[3] > 1)\n"),
        ("no_peek", "no_peek_through_frames"),
    ),
    "hidden voxels of a frame of which all is hidden": (
        after(
            "        some = known.any(5, keepdim=True).any(4, keepdim=True)\n"
            "        none = ~some.flatten(1).any(1).view(-1, 1, 1, 1, 1, 1)\n"
            "        out = out + 0.1 * torch.where(some | none, 0.0, x).roll(1, 2)\n"
        ),
        ("no_peek_through_frames",),
    ),
    "whether hidden voxels are numbers": (
        after("        out = out + 0.1 * x.isnan().any()\n"),
        ("no_peek_through_frames",),
    ),
    "each frame for itself": (
        (FILLED, FILLED.replace("continuation(x, known,", "torch.zeros_like(x) * bool(known.any());  # (")),
        ("other_frames_matter",),
    ),
    "one number of slices": (
        before("        mean = mean.expand(-1, -1, -1, 2, -1, -1)\n"),
        ("any_lengths", "scans_of_one_phase_or_slice"),
    ),
    "a condition of the item alone": (
        before(
            "        phase = (condition or {}).get('phase', torch.zeros(1)).nan_to_num()\n"
            "        mean = mean + phase.view(-1, 1, 1, 1, 1, 1)\n"
        ),
        ("conditions_of_frames",),
    ),
    "a condition that it cannot take": (
        before("        assert 'fill' not in (condition or {})\n"),
        ("places_are_told",),
    ),
}  # fmt: skip


def package(source: str, spec: str = SPEC) -> tuple[dict[str, str], dict[str, str]]:
    """Return entry points and modules of a plugin, as `install` takes them."""
    return {"hostile": "hostile_spec:SPEC"}, {"hostile_spec": spec, "hostile_model": source}


@pytest.mark.parametrize("fault", list(HOSTILE))
def test_a_hostile_model_of_blocks_is_caught(fault: str, install: Callable[..., Any]) -> None:
    """On blocks: on frames the checks are passed, so that what leaks through time is seen there alone."""
    (old, new), caught = HOSTILE[fault]
    assert old in MODEL
    conditions = "conditions=('phase',)" if "conditions_of_frames" in caught else "conditions=()"
    install("hostile", *package(MODEL.replace(old, new), SPEC.replace("conditions=()", conditions)))
    checks = checks_of("hostile")
    for check in caught:
        status, reason = outcome(checks[f"blocks.{check}"])
        assert status == "failed" and reason and "\n" not in reason, (check, status, reason)
    assert "no_peek" not in caught or outcome(checks["no_peek"])[0] == "passed"


def test_an_honest_model_of_blocks_conforms(install: Callable[..., Any]) -> None:
    """And is what the hostile ones are made from; it is checked on frames and on blocks."""
    install("hostile", *package(MODEL))
    results = list(run_checks("hostile"))
    assert [r for r in results if r.status == "failed"] == []
    names = {r.name for r in results}
    assert {"no_peek", "blocks.no_peek", "blocks.other_frames_matter"} <= names
    assert not {"other_frames_matter", "blocks.spec_needs_no_torch"} & names


QUICK = (
    "output_is_an_item", "no_peek", "no_peek_through_frames", "no_peek_through_a_scan", "other_frames_matter",
    "any_lengths", "scans_of_one_phase_or_slice", "places_are_told", "odd_sizes", "checkpoint_draws_the_same",
)  # fmt: skip


@pytest.mark.parametrize("axes", ["tyx", "zyx", "tzyx"])
def test_a_model_of_other_axes_alone_is_checked_on_them(axes: str, install: Callable[..., Any]) -> None:
    source = MODEL.replace(', axes: Axes = "yx"', "").replace("Hostile(width, axes)", f"Hostile(width, {axes!r})")
    item = (*(8 for _ in axes[:-2]), 64, 64)
    spec = SPEC.replace("conditions=()", f"conditions=(), axes={tuple(axes)}, item={item}")
    install("hostile", *package(source, spec))
    checks = checks_of("hostile")
    assert "other_frames_matter" in checks and not any(name.startswith("blocks.") for name in checks)
    assert Subject.of("hostile").extent.item == (*({"t": 3, "z": 2}[axis] for axis in axes[:-2]), 64, 64)
    assert {check: outcome(checks[check]) for check in QUICK} == dict.fromkeys(QUICK, ("passed", ""))


def test_a_family_of_ours_is_checked_on_frames_and_blocks() -> None:
    assert [subject.extent for subject in Subject.every("ldm-dit")] == [FRAME, BLOCK]
    frames, blocks = Subject.every("ldm-dit")
    assert (frames.build["axes"], blocks.build["axes"]) == ("yx", "tzyx")
    assert blocks.model.extent == BLOCK and blocks.draw(blocks.items(1), blocks.known_part(1)).shape == (
        1,
        1,
        3,
        2,
        64,
        64,
    )


def test_items_of_blocks_have_frames_that_are_alike_and_not_the_same() -> None:
    x, known = items(3, BLOCK.item), known_part(3, BLOCK.item)
    assert x.shape == known.shape == (3, 1, 3, 2, 64, 64) and x.abs().max() <= 1
    still, other = (x[:, :, 1] - x[:, :, 0]).square().mean(), (x[1:] - x[:-1]).square().mean()
    assert 0 < still < 0.5 * other
    assert not known[-1].any() and 0.3 < known[:-1].float().mean() < 0.7
    assert not bool((known[:, :, 1] == known[:, :, 0]).all())
