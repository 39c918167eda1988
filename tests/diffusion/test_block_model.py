"""What the kit promises of blocks: no leak through time or slices, exact units, detail of the fill, own streams."""

import math
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cmrgz.diffusion.given import BlockGiven
from cmrgz.diffusion.inpainting import ALGORITHMS
from cmrgz.diffusion.layers import Lines
from cmrgz.diffusion.model import LatentDiffusion
from cmrgz.diffusion.network import DenoisingNetwork, LevelEmbedding, input_channels
from cmrgz.errors import UsageError
from cmrgz.frames import FrameAttention
from cmrgz.hints import LEAST, MOST
from cmrgz.latents import framewise, lower, patches, position_pixels, unpatch
from cmrgz.model import Condition, Tokenizer
from cmrgz.rng import Streams

N, SHAPE = 4, (3, 2, 16, 24)
FAST: dict[str, Any] = {"steps": 4, "moves": 2, "rounds": 2, "averages": 2, "particles": 3}
algorithms = pytest.mark.parametrize("algorithm", [*ALGORITHMS])


class Patches(Tokenizer):
    """Patches as they are; `lossy` forgets half of what differs inside of one."""

    patch, channels = 4, 16

    def __init__(self, lossy: bool = False) -> None:
        super().__init__()
        self.kept = 0.5 if lossy else 1.0

    def encode(self, x: Tensor) -> Tensor:
        vectors = patches(x, 4)
        mean = vectors.mean(1, keepdim=True)
        return mean + self.kept * (vectors - mean) if self.kept < 1 else vectors

    def decode(self, vectors: Tensor) -> Tensor:
        return unpatch(vectors, 4)

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        return x.new_zeros(())


class SmallNetwork(DenoisingNetwork):
    """Convolutions in the plane, and a layer along the frames between; all of its weights matter."""

    multiple = 2

    def __init__(self) -> None:
        super().__init__()
        self.embed = LevelEmbedding(("phase",), 16)
        self.enter, self.leave = nn.Conv2d(input_channels(16, blocks=True), 16, 1), nn.Conv2d(16, 16, 3, padding=1)
        self.along = FrameAttention(16, 2)
        nn.init.normal_(self.along.leave.weight, std=0.3)

    def forward(self, inputs: Tensor, time: Tensor, condition: Condition | None) -> Tensor:
        lines = Lines.of(inputs, condition)
        told = self.embed(time, condition, lines.shape).flatten(0, -2)[..., None, None]
        return framewise(lambda x: self.leave(lines.attend_maps(self.along, torch.tanh(self.enter(x) + told))), inputs)


class NoNetwork(DenoisingNetwork):
    """Knows nothing, as a network whose last layer starts at zero."""

    def forward(self, inputs: Tensor, time: Tensor, condition: Condition | None) -> Tensor:
        return torch.zeros_like(inputs[:, :16])


def streams(n: int = N, seed: int = 0) -> Streams:
    return Streams(seed, [("item", i) for i in range(n)])


def blocks(n: int = N, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Tensor:
    """Return blocks whose frames are alike: a picture that brightens over time and differs a little by frame."""
    generator = torch.Generator().manual_seed(seed)
    still = torch.randn(n, 1, 1, 1, *shape[2:], generator=generator)
    bright = 1 + 0.3 * torch.sin(torch.arange(shape[0]) / 2)[:, None, None, None]
    return ((still * bright + 0.2 * torch.randn(n, 1, *shape, generator=generator)) / 3).clamp(-1, 1)


@cache
def _built(network: type[DenoisingNetwork], objective: Any, **options: Any) -> LatentDiffusion:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lossy = options.pop("lossy", False)
        model = LatentDiffusion(network(), Patches(lossy), objective, **{"axes": "tzyx", **options}).eval()
    frames = tuple(n if axis in model.axes else 1 for axis, n in (("t", 3), ("z", 2)))
    model.fit(lower(blocks(8, (*frames, 16, 24), seed=5), model.axes), rng=streams(8))
    return model


def built(network: type[DenoisingNetwork] = SmallNetwork, objective: Any = "v", **options: Any) -> LatentDiffusion:
    return deepcopy(_built(network, objective, **options))


@pytest.fixture
def x() -> Tensor:
    return blocks()


@pytest.fixture
def known() -> Tensor:
    """Different shares of positions, one cut, a block of which only one frame is known, and one that knows nothing."""
    generator = torch.Generator().manual_seed(1)
    share = torch.tensor([0.2, 0.6, 0.0, 0.0])[:, None, None, None, None]
    pixels = position_pixels(torch.rand(N, 3, 2, 4, 6, generator=generator) < share, 4)
    pixels[0, 0, 0, 0, 0, :2] = True  # a part of a patch
    pixels[2, 0, 1, 0] = True
    return pixels


def draw(model: LatentDiffusion, x: Tensor, known: Tensor, rng: Streams | None = None, **options: Any) -> Tensor:
    return model.sample(torch.where(known, x, 0.0), known, rng=rng or streams(len(x)), **{**FAST, **options})


# ---------------------------------------------------------------------- the two invariants, and streams
@algorithms
def test_hidden_voxels_of_no_frame_matter(x: Tensor, known: Tensor, algorithm: str) -> None:
    """They are removed before a model is called; here they are not, and still no bit changes."""
    model = built(objective="flow" if algorithm == "pnpflow" else "v")
    want = model.sample(torch.where(known, x, 0.0), known, rng=streams(), algorithm=algorithm, **FAST)
    other = torch.where(known, x, torch.randn(x.shape, generator=torch.Generator().manual_seed(9)))
    assert torch.equal(model.sample(other, known, rng=streams(), algorithm=algorithm, **FAST), want)
    assert torch.isfinite(want).all()


@algorithms
def test_known_positions_come_back_as_given(x: Tensor, known: Tensor, algorithm: str) -> None:
    drawn = draw(built(), x, known, algorithm=algorithm)
    given = BlockGiven(Patches(), built().hints, x, known, None).positions[:, 0]  # type: ignore[arg-type]
    whole = position_pixels(given, 4)
    assert whole.any() and torch.equal(drawn[whole], x[whole])


@pytest.mark.parametrize("algorithm", ["cond", "lanpaint"])
def test_what_a_frame_shows_changes_the_others(x: Tensor, known: Tensor, algorithm: str) -> None:
    model, other = built(), x.clone()
    other[2, 0, 1, 0] *= -1
    first, second = (draw(model, part, known, algorithm=algorithm) for part in (x, other))
    assert (first[2, 0, [0, 2]] - second[2, 0, [0, 2]]).abs().mean() > 1e-3
    assert torch.equal(first[[0, 1, 3]], second[[0, 1, 3]]), "other items do not see it"


@algorithms
def test_an_item_does_not_depend_on_its_neighbours(x: Tensor, known: Tensor, algorithm: str) -> None:
    model = built()
    together = draw(model, x, known, algorithm=algorithm)
    for i in range(N):
        one = slice(i, i + 1)
        alone = draw(model, x[one], known[one], Streams(0, [("item", i)]), algorithm=algorithm)
        torch.testing.assert_close(alone, together[one], rtol=1e-4, atol=1e-4)
    backwards = Streams(0, [("item", i) for i in reversed(range(N))])
    flipped = draw(model, x.flip(0), known.flip(0), backwards, algorithm=algorithm)
    torch.testing.assert_close(flipped.flip(0), together, rtol=1e-4, atol=1e-4)


@algorithms
def test_nothing_known_is_generation_by_any_algorithm(x: Tensor, algorithm: str) -> None:
    model, nothing = built(), torch.zeros_like(x, dtype=torch.bool)
    assert torch.equal(draw(model, x, nothing, algorithm=algorithm), draw(model, x * 0, nothing, algorithm="replace"))


@pytest.mark.parametrize(("axes", "shape"), [("tyx", (5, 16, 16)), ("zyx", (3, 16, 16)), ("tzyx", (1, 1, 16, 16))])
def test_clips_and_stacks_are_blocks(axes: str, shape: tuple[int, ...]) -> None:
    """Drawn as the block that they are, whose one phase or one slice goes unnamed; also a fill that comes with them."""
    t, z = {"tyx": (5, 1), "zyx": (1, 3), "tzyx": (1, 1)}[axes]
    model, block = built(axes=axes), built()
    block.load_state_dict(model.state_dict())
    x = blocks(2, (t, z, 16, 16)).view(2, 1, *shape)
    known = position_pixels(torch.rand(2, t, z, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.5, 4)
    for condition in ({}, {"fill": 0.9 * x}):
        drawn = draw(model, x, known.view(x.shape), condition=condition)
        lifted = {name: value.view(2, 1, t, z, 16, 16) for name, value in condition.items()}
        want = draw(block, x.view(2, 1, t, z, 16, 16), known, condition=lifted)
        assert drawn.shape == x.shape and torch.equal(drawn.flatten(), want.flatten())
    assert model.loss(x, rng=streams(2)).isfinite()


# ---------------------------------------------------------------------- units
@pytest.mark.parametrize("objective", ["v", "eps", "x0", "flow"])
def test_a_network_that_knows_nothing_is_a_gaussian_about_the_hint(x: Tensor, known: Tensor, objective: str) -> None:
    """Whatever it is said to predict, and in any number of steps: the start of the state is the draw."""
    model = built(NoNetwork, objective)
    assert model.hints is not None
    drawn = framewise(model.tokenizer.encode, draw(model, x, known, steps=3))
    given = BlockGiven(model.tokenizer, model.hints, x, known, None)
    hint, noise = given.hint, streams().child("inpaint").normal(16, 3, 2, 4, 6)
    want = torch.where(given.positions, given.latents, hint.mean + hint.scale * noise)
    torch.testing.assert_close(drawn[:3], want[:3], rtol=1e-3, atol=1e-3)
    assert (drawn[3] - hint.mean[3]).std() == pytest.approx(float(model.hints.spread.mean()), rel=0.1)


def test_the_temperature_narrows_a_gaussian(x: Tensor, known: Tensor) -> None:
    model = built(NoNetwork)
    mean, half, one = (draw(model, x, known, temperature=t) for t in (0.0, 0.5, 1.0))
    torch.testing.assert_close(half - mean, (one - mean) / 2, rtol=1e-4, atol=1e-5)
    again = draw(model, x, known, streams(seed=7), temperature=0.0)
    assert torch.equal(again, mean) and not torch.equal(one, mean)


def test_what_the_network_is_told(x: Tensor, known: Tensor) -> None:
    model, seen = built(), []
    assert model.hints is not None
    handle = model.network.register_forward_pre_hook(lambda module, args: seen.append(args))
    told = {"phase": torch.full((N, 3, 2), 0.2), "fill": x.clone()}
    draw(model, x, known, algorithm="cond", condition=told)
    draw(model, x, known, algorithm="replace", condition=told)
    handle.remove()
    inputs, _, condition = seen[0]
    assert "fill" not in condition and "phase" in condition
    _, mean, log_scale, shares, flag = inputs.split([16, 16, 16, 9, 1], 1)
    positions = BlockGiven(model.tokenizer, model.hints, x, known, None).positions
    assert torch.equal(flag.bool(), positions)
    vectors = framewise(model.tokenizer.encode, x)
    assert torch.equal(torch.where(positions, mean, 0.0), torch.where(positions, vectors, 0.0))
    certain = torch.tensor(LEAST).log()
    assert (log_scale[positions.expand_as(log_scale)] == certain).all() and (log_scale <= math.log(MOST) + 1e-6).all()
    assert not shares[3].any() and not log_scale[3].any(), "nothing is known of the last"
    nothing = seen[-1][0][:, 16:]
    assert torch.equal(nothing[0, :, 0, 0, 0, 0], torch.cat([model.hints.mean, torch.zeros(26)]))
    assert (nothing == nothing[:1, :, :1, :1, :1, :1]).all(), "an algorithm that guides tells the network nothing"


def test_a_fill_of_the_whole_scan_is_where_states_start(x: Tensor, known: Tensor) -> None:
    model = built(NoNetwork)
    told = draw(model, x, known, condition={"fill": x.clone()}, temperature=0.0)
    assert torch.allclose(told[:3], x[:3], atol=1e-5)
    assert not torch.allclose(draw(model, x, known, temperature=0.0)[:3], x[:3], atol=1e-2)


def test_the_detail_of_the_fill_is_carried_over(x: Tensor, known: Tensor) -> None:
    """Of a tokenizer that blurs: the most likely draw of a network that knows nothing is the fill itself."""
    model = built(NoNetwork, lossy=True)
    assert model.hints is not None
    drawn = draw(model, x, known, temperature=0.0)
    given = BlockGiven(model.tokenizer, model.hints, x, known, None)
    torch.testing.assert_close(drawn[:3], given.hint.fill[:3], rtol=0, atol=1e-5)
    blurred = framewise(model.tokenizer.decode, given.encode(given.hint.fill))
    assert (blurred - given.hint.fill)[:3].abs().max() > 0.05
    plain = framewise(model.tokenizer.decode, given.hint.mean)
    torch.testing.assert_close(drawn[3], plain[3], rtol=0, atol=1e-4)


def test_uncertain_positions_count_most_and_items_alike(x: Tensor, known: Tensor) -> None:
    model = built()
    assert model.hints is not None
    origin = BlockGiven(model.tokenizer, model.hints, x, known, None).told
    hidden = torch.ones(N, 1, 3, 2, 4, 6, dtype=torch.bool)
    one = origin.mean_error(torch.ones(N, 16, 3, 2, 4, 6), model.weight, hidden)
    torch.testing.assert_close(one, torch.ones(N))
    error = torch.zeros(N, 16, 3, 2, 4, 6).requires_grad_()
    origin.mean_error(error, torch.linspace(1, 2, 16), hidden)[0].backward()
    assert error.grad is not None
    weight = torch.linspace(1, 2, 16).view(-1, 1, 1, 1, 1)
    hint = BlockGiven(model.tokenizer, model.hints, x, known, None).hint
    relative = hint.scale[0] / model.hints.spread.view(-1, 1, 1, 1, 1)
    share = error.grad[0] / (relative * weight)
    torch.testing.assert_close(share, share.mean().expand_as(share))


# ---------------------------------------------------------------------- options
def test_the_usual_algorithm(x: Tensor, known: Tensor) -> None:
    some = slice(0, 3)
    for options, calls in (({}, 6), ({"known_share": 0.0}, 72)):
        model, seen = built(**options), []
        handle = model.network.register_forward_pre_hook(lambda *given, seen=seen: seen.append(given))
        model.sample(torch.where(known, x, 0.0)[some], known[some], rng=streams(3))
        handle.remove()
        assert len(seen) == calls
    model = built()
    same = draw(model, x, known, algorithm="cond", sampler="trig")
    assert torch.equal(draw(model, x, known), same)
    assert not torch.equal(draw(model, x, known, sampler="dpm"), same)


def test_a_guide_must_see_the_same_axes() -> None:
    with pytest.raises(UsageError, match="axes"):
        built().guided_by(built(axes="tyx"))
    model = built()
    model.guided_by(built())


def test_a_grid_that_does_not_fit_is_refused() -> None:
    x = torch.zeros(1, 1, 2, 2, 12, 16)
    with pytest.raises(UsageError, match="multiple of 2"):
        draw(built(), x, torch.zeros_like(x, dtype=torch.bool))
    with pytest.raises(UsageError, match="multiple of 2"):
        built().loss(x, rng=streams(1))


# ---------------------------------------------------------------------- training
def test_the_loss_uses_nothing_that_is_hidden() -> None:
    """A fill would be of the whole scan, hidden part included, so none is looked at."""
    model, x = built(), blocks()
    with torch.no_grad():
        assert torch.equal(model.loss(x, rng=streams()), model.loss(x, condition={"fill": x.clone()}, rng=streams()))


def stripes(n: int, seed: int) -> Tensor:
    """Return blocks whose patches are all the same but for their brightness, which no hint can know."""
    brightness = torch.randn(n, 1, 3, 2, 4, 6, generator=torch.Generator().manual_seed(seed)) / 3
    return torch.kron(brightness, torch.linspace(-1, 1, 16).view(1, 1, 1, 1, 4, 4))


def test_training_lowers_the_loss() -> None:
    """A network that starts as none learns how the channels of what is left over depend on each other."""
    model = built()
    model.fit(stripes(16, 5), rng=streams(16))
    nn.init.zeros_(model.network.leave.weight)  # type: ignore[union-attr,arg-type]
    nn.init.zeros_(model.network.leave.bias)  # type: ignore[union-attr,arg-type]
    optimizer = torch.optim.AdamW(model.train().network.parameters(), lr=3e-3)

    def held_out() -> float:
        with torch.no_grad():
            return sum(float(model.loss(stripes(8, 99), rng=streams(8, seed))) for seed in range(3))

    before = held_out()
    for step in range(40):
        optimizer.zero_grad()
        model.loss(stripes(8, 100 + step), rng=streams(8, 100 + step)).backward()
        optimizer.step()
    assert held_out() < 0.75 * before


def test_the_loss_is_in_full_precision_where_it_matters() -> None:
    """What is left over is a small difference of large vectors: under autocast it stays what it is."""
    model, x = built(NoNetwork), blocks()
    with torch.no_grad():
        exact = model.loss(x, rng=streams())
        with torch.autocast("cpu", torch.bfloat16):
            rough = model.loss(x, rng=streams())
    torch.testing.assert_close(rough, exact, rtol=1e-5, atol=0)
