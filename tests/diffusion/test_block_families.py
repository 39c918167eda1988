"""What every diffusion family promises of blocks, tested for each that is installed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cmrgz import checkpoint, registry
from cmrgz.calls import Caller, Items, Setting
from cmrgz.diffusion.model import LatentDiffusion
from cmrgz.diffusion.network import input_channels
from cmrgz.latents import position_pixels
from cmrgz.model import Model
from cmrgz.plugin import Extent
from cmrgz.testing.subject import build_tokenizer, shaken, streams

NAMES = ["ldm-unet", "ldm-dit", "flow-dit", "ldm-uvit"]
OPTIONS = {name: {**registry.get_model(name).tiny, "axes": "tzyx"} for name in NAMES}
every = pytest.mark.parametrize("name", NAMES)


def blocks(n: int, t: int, z: int, seed: int = 0) -> Tensor:
    """Return blocks (n, 1, t, z, 32, 32) whose frames are alike."""
    generator = torch.Generator().manual_seed(seed)
    still, each = torch.randn(n, 1, 1, 1, 4, 4, generator=generator), torch.randn(n, 1, t, z, 4, 4, generator=generator)
    return ((still + 0.3 * each) / 3).repeat_interleave(8, -2).repeat_interleave(8, -1).clamp(-1, 1)


def some_known(n: int, t: int, z: int) -> Tensor:
    """Return known pixels: half of the positions, and nothing of the last block."""
    positions = torch.rand(n, t, z, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.5
    positions[-1] = False
    return position_pixels(positions, 8)


def built(name: str) -> LatentDiffusion:
    """Return a small model as training starts with it."""
    spec = registry.get_model(name)
    tokenizer = build_tokenizer(registry.get_tokenizer("kl"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = registry.build_model(spec, tokenizer, OPTIONS[name])
    assert isinstance(model, LatentDiffusion)
    model.fit(blocks(8, 5, 3, seed=5), rng=streams(8))
    return model.eval()


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> LatentDiffusion:
    """One all of whose weights matter."""
    return shaken(built(request.param))


def draw(model: Model, x: Tensor, known: Tensor, **options: Any) -> Tensor:
    with torch.inference_mode():
        given = {"rng": streams(len(x)), "steps": 2, "moves": 1, **options}
        return model.sample(torch.where(known, x, 0.0), known, **given)


def inputs_of(model: LatentDiffusion, n: int = 2) -> Tensor:
    channels = input_channels(model.tokenizer.channels, blocks=True)
    return torch.randn(n, channels, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))


@every
@torch.no_grad()
def test_a_new_network_adds_nothing(name: str) -> None:
    """Training starts from a calibrated Gaussian about the hint."""
    model = built(name)
    assert not model.network(inputs_of(model), torch.tensor([300.0, 500.0]), None).any()


@pytest.mark.parametrize(("t", "z"), [(1, 1), (5, 3), (12, 1), (1, 5)])
def test_any_number_of_phases_and_slices(model: LatentDiffusion, t: int, z: int) -> None:
    x, known = blocks(3, t, z), some_known(3, t, z)
    for algorithm in ("cond", "lanpaint"):
        drawn = draw(model, x, known, algorithm=algorithm)
        assert drawn.shape == x.shape and bool(drawn.isfinite().all())
    assert bool(model.loss(x, rng=streams(3)).isfinite())


@pytest.mark.parametrize("algorithm", ["auto", "lanpaint", "smc"])
def test_no_leak_between_frames(model: LatentDiffusion, algorithm: str) -> None:
    """Hidden voxels do not matter, not even of other frames than those that are looked at; known ones do."""
    x, known = blocks(2, 5, 3), some_known(2, 5, 3)
    want = draw(model, x, known, algorithm=algorithm, particles=2)
    hidden = torch.where(known, x, 1 - x)
    given = {"rng": streams(2), "steps": 2, "moves": 1, "algorithm": algorithm, "particles": 2}
    with torch.inference_mode():
        assert torch.equal(model.sample(hidden, known, **given), want)  # type: ignore[arg-type]
    other = x.clone()
    other[0, 0, 0, 0] *= -1
    seen = draw(model, other, known, algorithm=algorithm, particles=2)
    assert not torch.equal(seen[0, 0, 4, 2], want[0, 0, 4, 2]) and torch.equal(seen[1], want[1])


@pytest.mark.parametrize("algorithm", ["auto", "lanpaint"])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_batch_size_does_not_matter(model: LatentDiffusion, algorithm: str, batch: int) -> None:
    """Items are called for in batches of one fixed size, however many are in flight."""
    x, known = blocks(8, 2, 2), some_known(8, 2, 2)
    setting = Setting(options={"steps": 2, "moves": 1, "algorithm": algorithm})
    caller = Caller(model, setting, frames=4)
    items = Items(x[:, 0].numpy(), known[:, 0].numpy(), [("item", i) for i in range(8)], {})
    want = caller.draw_all(items)
    parts = [caller.draw_all(items.take(np.arange(i, min(i + batch, 8)))) for i in range(0, 8, batch)]
    assert np.array_equal(np.concatenate(parts), want)


@torch.no_grad()
def test_level_conditions_places_and_frames_matter(model: LatentDiffusion) -> None:
    network, inputs, time = model.network, inputs_of(model), torch.tensor([300.0, 300.0])
    phase = torch.full((2, 3, 2), 0.2)
    base = network(inputs, time, {"phase": phase})
    assert base.shape == (2, model.tokenizer.channels, 3, 2, 4, 4)
    torch.testing.assert_close(
        network(inputs, time, {"phase": phase[:, 0, 0]}), base
    )  # one value is that of all frames
    assert not torch.equal(network(inputs, time + 1, {"phase": phase}), base)
    phase[0, 1, 0] = torch.nan
    other = network(inputs, time, {"phase": phase})
    assert not torch.equal(other[0, :, 1, 0], base[0, :, 1, 0]) and torch.allclose(other[1], base[1], atol=1e-6)
    for name, step in (("time", 0.2), ("height", 25.0)):
        axis = torch.arange(3)[None, :, None] if name == "time" else torch.arange(2)[None, None]
        placed = network(inputs, time, {"phase": base.new_full((2,), 0.2), name: (step * axis).expand(2, 3, 2)})
        assert not torch.allclose(placed, base, atol=1e-6), name
    changed = inputs.clone()
    changed[0, :, 0, 0] += 1
    assert not torch.allclose(network(changed, time, None)[0, :, 2, 1], network(inputs, time, None)[0, :, 2, 1])


@torch.no_grad()
def test_time_is_a_circle_and_places_are_no_numbers(model: LatentDiffusion) -> None:
    """Frames that change places together with their coordinates give the same, in their new places."""
    inputs, time = inputs_of(model), torch.tensor([300.0, 600.0])
    at = torch.tensor([0.0, 0.3, 0.7])[None, :, None].expand(2, 3, 2)
    height = torch.tensor([0.0, 9.0])[None, None].expand(2, 3, 2)
    base = model.network(inputs, time, {"time": at, "height": height})
    order = [2, 0, 1]
    turned = model.network(inputs[:, :, order], time, {"time": at[:, order] + 1, "height": height})
    torch.testing.assert_close(turned, base[:, :, order], rtol=1e-3, atol=1e-4)


@every
def test_a_checkpoint_keeps_the_hints(name: str, tmp_path: Path) -> None:
    model, spec = shaken(built(name)), registry.get_model(name)
    kl = registry.get_tokenizer("kl")
    extent = Extent(("t", "z", "y", "x"), (5, 3, 32, 32))
    inner = checkpoint.describe(kl, kl.tiny, extent=Extent(item=(64, 64)))
    meta = checkpoint.describe(spec, OPTIONS[name], extent=extent)
    checkpoint.save(tmp_path / "model", model, meta, tokenizer=checkpoint.Opened(model.tokenizer, inner))
    loaded, _ = checkpoint.open_model(tmp_path / "model")
    assert isinstance(loaded, LatentDiffusion) and loaded.hints is not None and loaded.extent == extent
    assert model.hints is not None and torch.equal(loaded.hints.log_scale[-1].bias, model.hints.log_scale[-1].bias)
    x, known = blocks(2, 2, 3), some_known(2, 2, 3)
    assert torch.equal(draw(loaded, x, known), draw(model, x, known))


@every
def test_frames_have_the_tensors_that_they_had(name: str) -> None:
    """What blocks need is there for blocks alone: checkpoints of frames stay what they are."""
    spec = registry.get_model(name)
    tokenizer = build_tokenizer(registry.get_tokenizer("kl"))
    with torch.device("meta"):
        frames = registry.build_model(spec, tokenizer, spec.tiny).state_dict()
        more = registry.build_model(spec, tokenizer, OPTIONS[name]).state_dict()
    new = more.keys() - frames.keys()
    assert frames.keys() < more.keys()
    assert all(key.startswith(("hints.", "network.along.")) for key in new)
