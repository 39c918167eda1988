"""What the kit promises of every model made with it: no leak, own streams, one path for generating and inpainting."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from cmrgz.diffusion.given import FrameGiven
from cmrgz.diffusion.inpainting import ALGORITHMS
from cmrgz.diffusion.model import LatentDiffusion
from cmrgz.diffusion.samplers import SAMPLERS
from cmrgz.errors import UsageError
from cmrgz.latents import position_pixels
from cmrgz.rng import Streams
from cmrgz.testing.mixtures import Mixture, mixture_model

N = 4
FAST: dict[str, Any] = {"steps": 4, "moves": 2, "rounds": 2, "averages": 2, "particles": 3}
ALL = [*ALGORITHMS]
algorithms = pytest.mark.parametrize("algorithm", ALL)


def streams(n: int = N, seed: int = 0) -> Streams:
    return Streams(seed, [("item", i) for i in range(n)])


@pytest.fixture
def x() -> Tensor:
    return torch.rand(N, 1, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def known() -> Tensor:
    """Different shares of positions, one cut, and one item of which nothing is known."""
    positions = (
        torch.rand(N, 4, 6, generator=torch.Generator().manual_seed(1))
        < torch.tensor([0.2, 0.5, 0.8, 0])[:, None, None]
    )
    pixels = position_pixels(positions, 4)
    pixels[0, 0, 0, :2] = True  # a part of a patch
    return pixels


def draw(model: LatentDiffusion, x: Tensor, known: Tensor, rng: Streams | None = None, **options: Any) -> Tensor:
    return model.sample(torch.where(known, x, 0.0), known, rng=rng or streams(len(x)), **{**FAST, **options})


@algorithms
@pytest.mark.parametrize("objective", ["v", "flow"])
def test_hidden_values_do_not_matter(built: Any, x: Tensor, known: Tensor, algorithm: str, objective: str) -> None:
    model = built(objective)
    want = draw(model, x, known, algorithm=algorithm)
    for fill in (torch.full_like(x, 0.7), torch.randn_like(x), torch.full_like(x, torch.nan)):
        other = torch.where(known, x, fill)
        got = model.sample(other.where(known, 0.0), known, rng=streams(), algorithm=algorithm, **FAST)
        assert torch.equal(got, want)


@algorithms
def test_known_positions_come_back_as_given(built: Any, x: Tensor, known: Tensor, algorithm: str) -> None:
    model = built("flow" if algorithm == "pnpflow" else "v")
    drawn = draw(model, x, known, algorithm=algorithm)
    whole = position_pixels(known.unfold(2, 4, 4).unfold(3, 4, 4).all(-1).all(-1)[:, 0], 4)
    assert torch.equal(drawn[whole], x[whole])
    assert torch.isfinite(drawn).all()


@algorithms
def test_an_item_does_not_depend_on_its_neighbours(built: Any, x: Tensor, known: Tensor, algorithm: str) -> None:
    """Also where one of them knows nothing, which is drawn by another algorithm."""
    model = built("v")
    together = draw(model, x, known, algorithm=algorithm)
    for i in range(N):
        one = slice(i, i + 1)
        alone = draw(model, x[one], known[one], Streams(0, [("item", i)]), algorithm=algorithm)
        torch.testing.assert_close(alone, together[one], rtol=1e-4, atol=1e-4)
    backwards = Streams(0, [("item", i) for i in reversed(range(N))])
    flipped = draw(model, x.flip(0), known.flip(0), backwards, algorithm=algorithm)
    torch.testing.assert_close(flipped.flip(0), together, rtol=1e-4, atol=1e-4)


@algorithms
def test_nothing_known_is_generation_by_any_algorithm(built: Any, x: Tensor, algorithm: str) -> None:
    model, nothing = built("v"), torch.zeros_like(x, dtype=torch.bool)
    assert torch.equal(draw(model, x, nothing, algorithm=algorithm), draw(model, x * 0, nothing, algorithm="replace"))


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_seeds_differ_and_repeat(built: Any, x: Tensor, known: Tensor, sampler: str) -> None:
    model, state = built("v"), torch.get_rng_state()
    options = {"sampler": sampler, "algorithm": "cond"}
    first, again, other = (draw(model, x, known, streams(seed=s), **options) for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_calls_are_those_of_the_algorithm(built: Any, x: Tensor, known: Tensor) -> None:
    expected = {"lanpaint": 12, "cond": 4, "replace": 4, "repaint": 7, "dps": 4, "pnpflow": 8, "smc": 4}
    assert expected.keys() == ALGORITHMS.keys()
    model, some = built("flow"), slice(0, 3)
    for algorithm, number in expected.items():
        calls: list[Any] = []
        steps: list[tuple[int, int]] = []
        handle = model.network.register_forward_pre_hook(lambda *given, calls=calls: calls.append(given))
        told = lambda done, total, steps=steps: steps.append((done, total))  # noqa: E731
        draw(model, x[some], known[some], algorithm=algorithm, progress=told)
        handle.remove()
        assert len(calls) == number, algorithm
        assert steps == [(i, 4) for i in range(1, 5)]


def test_progress_may_cancel(built: Any, x: Tensor, known: Tensor) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw(built("v"), x, known, progress=stop)


@pytest.mark.parametrize("objective", ["v", "eps", "x0", "flow"])
def test_latents_are_not_clipped(objective: Any) -> None:
    """Latents of three standard deviations and more come back as such (a fault of published code)."""
    mixture = Mixture.rings(4)
    wide = Mixture(mixture.weights, mixture.means * 3, mixture.covariances * 9, mixture.side)
    drawn = mixture_model(wide, objective).sample(
        torch.zeros(400, 1, 4, 4), torch.zeros(400, 1, 4, 4, dtype=torch.bool), rng=streams(400), steps=20
    )
    variance = wide.covariance.diagonal().sum()
    assert float(drawn.flatten(1).var(0).sum()) == pytest.approx(float(variance), rel=0.2)
    assert drawn.abs().max() > 4


# ---------------------------------------------------------------------- training
@pytest.mark.parametrize("objective", ["v", "eps", "x0", "flow"])
def test_the_loss_is_a_function_of_its_streams_and_trains_everything(built: Any, x: Tensor, objective: str) -> None:
    model = built(objective, known_share=0.5).train()
    condition = {"phase": torch.linspace(0, 0.9, N)}
    losses = [model.loss(x, condition=condition, rng=streams(seed=s)) for s in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2] and bool(losses[0].isfinite())
    losses[0].backward()
    missing = [n for n, p in model.network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert missing == ["embed.condition.unknown"] or not missing


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_that_knows_a_part(built: Any, share: float) -> None:
    model, seen = built("v", known_share=share), []
    model.network.register_forward_pre_hook(lambda _, args: seen.append(args[0][:, 16:]))
    model.loss(torch.rand(64, 1, 16, 16) * 2 - 1, rng=streams(64))
    told = seen[0][:, -1].flatten(1).any(1)
    assert told.float().mean() > 0.8 if share else not told.any()
    assert not seen[0][~told].any(), "where nothing is known nothing is told"


def test_the_context_is_what_is_known_and_its_continuation(built: Any, x: Tensor, known: Tensor) -> None:
    model = built("v")
    context = FrameGiven(model.tokenizer, x, known, None).told.context
    positions = context[:, -1:].bool()
    vectors = model.tokenizer.encode(x)
    assert torch.equal(torch.where(positions, context[:, :-1], 0.0), torch.where(positions, vectors, 0.0))
    hidden = torch.where(known, x, torch.nan)
    assert torch.equal(context, FrameGiven(model.tokenizer, hidden, known, None).told.context)
    assert context[0, :-1].abs().sum(0).bool().all(), "hidden positions are told a continuation"
    assert not context[3].any()


def test_the_loss_of_a_perfect_network_is_least() -> None:
    """Flow and diffusion of a mixture: its own network beats one that is a little off."""
    mixture = Mixture.rings(8)
    for objective in ("v", "flow"):
        model = mixture_model(mixture, objective)  # type: ignore[arg-type]
        x = mixture.sample(1, torch.Generator().manual_seed(0)).float().view(1, 1, 8, 8)
        losses = []
        for factor in (1.0, 0.9, 1.1):
            with torch.no_grad():
                hook = model.network.register_forward_hook(lambda m, a, out, f=factor: out * f)
                total = sum(float(model.loss(x, rng=Streams(0, [(i,)]))) for i in range(60))
                hook.remove()
            losses.append(total)
        assert losses[0] == min(losses)


def test_channels_are_weighed_by_what_they_do(built: Any) -> None:
    model = built("v")
    decode = model.tokenizer.decode
    model.tokenizer.decode = lambda v: decode(v * torch.linspace(1, 0.01, 16)[:, None, None])
    model.fit(torch.rand(8, 1, 16, 16), rng=streams(1))
    del model.tokenizer.decode
    assert model.weight.mean() == pytest.approx(1) and model.weight[0] / model.weight[-1] == pytest.approx(10, rel=0.01)


# ---------------------------------------------------------------------- guidance and refusals
def test_a_guide_pushes_away_from_the_weaker_network(built: Any, x: Tensor, known: Tensor) -> None:
    model, weaker = built("v"), built("v")
    plain = draw(model, x, known)
    for parameter in weaker.network.parameters():
        parameter.data *= 0.9
    model.guided_by(weaker)
    assert torch.equal(draw(model, x, known), plain), "guidance 1 is none"
    guided = [draw(model, x, known, guidance=w) for w in (1.5, 3.0)]
    assert (guided[1] - plain).norm() > (guided[0] - plain).norm() > 0
    with pytest.raises(UsageError, match="objective"):
        model.guided_by(built("flow"))


def test_a_grid_that_does_not_fit_is_refused(built: Any) -> None:
    x = torch.zeros(1, 1, 12, 16)
    with pytest.raises(UsageError, match="multiple of 2"):
        draw(built("v"), x, torch.zeros_like(x, dtype=torch.bool), streams(1))
    with pytest.raises(UsageError, match="multiple of 2"):
        built("v").loss(x, rng=streams(1))


@pytest.mark.parametrize(
    ("build", "given", "what"),
    [
        ({"objective": "v"}, {"algorithm": "pnpflow"}, "needs a flow"),
        ({"objective": "v", "known_share": 0.0}, {"algorithm": "cond"}, "trained with a known part"),
    ],
)
def test_an_algorithm_that_does_not_fit_is_refused(build: dict[str, Any], given: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        LatentDiffusion.check_options(build, given)
    LatentDiffusion.check_options({"shift": 1.0, "known_share": 0.5}, given)


def test_paper_like_injects_late_and_without_noise(built: Any, x: Tensor, known: Tensor) -> None:
    model, some = built("v"), slice(0, 3)
    like = draw(model, x[some], known[some], preset="paper_like")
    late = draw(model, x[some], known[some], algorithm="replace", steps=50, eta=0.0)
    assert not torch.equal(like, late), "the level of the injected part differs"
    assert math.isfinite(float(like.sum()))
