"""Masked decoding of blocks: against exact posteriors, what frames tell one another, and how many steps it takes."""

from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cmrgz.calls import CallCounter
from cmrgz.features import SHARES
from cmrgz.hints import LEAST, MOST
from cmrgz.model import Condition
from cmrgz.rng import Streams
from cmrgz.testing.exact_blocks import block_hole
from cmrgz.testing.masked import masked_mixture_model
from cmrgz.testing.mixtures import Mixture, Score, score
from cmrgz.testing.oracles import (
    CodeField,
    draw_hidden,
    frequencies,
    masked_oracle_model,
    total_variation,
    variation_bound,
)
from cmrgz.testing.small import SmallTokenizer, small_items
from cmrgz.tokens.masked_codes import MaskedTokenModel
from cmrgz.tokens.masked_vectors import Evidence, MaskedVectorModel, VectorNetwork
from cmrgz.tokens.network import MaskedNetwork
from cmrgz.tokens.schedule import automatic_steps, block_counts

SHAPES = ((1, 1), (5, 3), (12, 1), (1, 5))
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def streams(count: int, seed: int = 0) -> Streams:
    return Streams(seed, [(i,) for i in range(count)])


# ---------------------------------------------------------------------- how many a step
def hidden_of(counts: list[list[int]]) -> Tensor:
    """Return hidden positions (b, frames, 256), so many of each frame."""
    return torch.arange(256) < torch.tensor(counts)[..., None]


@given(st.lists(st.lists(st.integers(0, 256), min_size=6, max_size=6), min_size=1, max_size=4))
@settings(deadline=None, max_examples=100)
def test_a_block_takes_about_as_many_steps_as_its_most_hidden_frame(counts: list[list[int]]) -> None:
    steps = block_counts(hidden_of(counts))
    assert steps[0].tolist() == [0] * len(counts) and steps[-1].tolist() == [sum(c) for c in counts]
    for item, own in enumerate(counts):
        taken = int((steps[:, item].diff() > 0).sum())
        frame = int(automatic_steps(torch.tensor([max(own)])))
        assert min(frame, sum(own)) <= taken <= frame + 8 <= 2 * 16
        assert (steps[:taken, item].diff() > 0).all(), "every step draws something"


@given(st.lists(st.lists(st.integers(0, 256), min_size=6, max_size=6), min_size=2, max_size=4))
@settings(deadline=None, max_examples=50)
def test_a_block_has_the_counts_it_has_alone(counts: list[list[int]]) -> None:
    together = block_counts(hidden_of(counts))
    for item, own in enumerate(counts):
        alone = block_counts(hidden_of([own]))[:, 0].tolist()
        assert together[: len(alone), item].tolist() == alone
        assert (together[len(alone) :, item] == sum(own)).all()


def test_the_first_positions_of_a_block_are_drawn_almost_one_by_one() -> None:
    counts = block_counts(hidden_of([[256] * 15]))[:, 0]
    assert counts[:8].tolist() == [0, 1, 3, 7, 15, 31, 63, 127] and len(counts) - 1 <= 24


# ---------------------------------------------------------------------- codes
COUNT = 2500
FIELDS = {
    "phases": CodeField.random((3, 1, 1, 3), 3, 1, strength=0.7, seed=5),
    "phases and slices, two levels": CodeField.random((3, 2, 1, 1), 2, 2, strength=0.7, seed=4),
}
MODELS = {name: masked_oracle_model(field) for name, field in FIELDS.items()}


def excess(name: str, known: np.ndarray, **options: Any) -> float:
    """Return the total variation of draws to the posterior over what exact draws stay below."""
    field, rng = FIELDS[name], np.random.default_rng(1)
    symbols = field.sample(1, np.random.default_rng(0))[0]
    law = field.posterior(symbols, known)
    drawn = draw_hidden(MODELS[name], symbols, known, field.grid, streams(COUNT), **options)
    found = frequencies(drawn, (field.symbols,) * int((~known).sum()))
    return total_variation(found, law) / variation_bound(law, COUNT, rng)


def known_frames(name: str, kind: str) -> np.ndarray:
    """Return known positions: all of the first phase, or every second position."""
    grid = FIELDS[name].grid
    n = int(np.prod(grid))
    return np.arange(n) < n // grid[0] if kind == "first phase" else np.arange(n) % 2 == 1


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("kind", ["first phase", "scattered"])
def test_one_position_a_step_draws_codes_of_blocks_from_the_posterior(name: str, kind: str) -> None:
    assert excess(name, known_frames(name, kind), steps=99) < 1


def test_all_positions_of_a_block_at_once_do_not() -> None:
    assert excess("phases", known_frames("phases", "first phase"), steps=1) > 1.5


# ---------------------------------------------------------------------- vectors
MIXTURE = Mixture.blocks(3, (3, 2))


def measured(kind: str, scale: float = 0.4, **options: Any) -> Score:
    model = masked_mixture_model(MIXTURE, scale=scale)
    return score(model, MIXTURE, block_hole(kind, 0.6, MIXTURE), items=12, draws=8, **options)


@pytest.mark.parametrize("kind", ["phase", "held", "scattered"])
def test_a_perfect_network_draws_blocks_from_the_posterior(kind: str) -> None:
    found = measured(kind)
    assert found.energy < 1.12 and 0.8 < found.variance < 1.4 and abs(found.bias) < 0.15, found


def test_units_do_not_matter_to_a_perfect_network() -> None:
    wide, narrow = (measured("held", scale) for scale in (1.0, 0.2))
    assert abs(wide.energy - narrow.energy) < 0.08


class Still(VectorNetwork):
    """Features that tell nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, vectors: Tensor, shown: Tensor, condition: Condition | None, hints: Tensor) -> Tensor:
        return self.weight * hints


class Normal(nn.Module):
    """A head that draws standard normal vectors, whatever it is told."""

    def loss(self, features: Tensor, vectors: Tensor, rng: Streams) -> Tensor:
        return vectors.square() + 0 * features.sum()

    def noises(self, steps: int, solver: str) -> int:
        return 1

    def draw(self, features: Tensor, noise: Tensor, steps: int, temperature: float, solver: str) -> Tensor:
        return temperature * noise[..., 0, :]


def smooth(count: int, shape: tuple[int, int], seed: int = 0) -> Tensor:
    """Return blocks (count, 1, t, z, 16, 16) whose frames are much alike."""
    generator = torch.Generator().manual_seed(seed)
    still = torch.randn(count, 1, 1, 1, 4, 4, generator=generator)
    x = 0.4 * still + 0.1 * torch.randn(count, 1, *shape, 4, 4, generator=generator)
    return x.repeat_interleave(4, -1).repeat_interleave(4, -2)


def squares(x: Tensor, share: float = 0.5, seed: int = 1) -> Tensor:
    """Return known pixels of blocks: squares of 4 x 4, other ones in every frame."""
    cell = torch.rand(*x.shape[:4], 4, 4, generator=torch.Generator().manual_seed(seed)) < share
    return cell.repeat_interleave(4, -1).repeat_interleave(4, -2)


@cache
def _still_model() -> MaskedVectorModel:
    model = MaskedVectorModel(Still(), Normal(), SmallTokenizer(), axes="tzyx").eval()
    model.fit(smooth(12, (5, 3), seed=9), rng=streams(1))
    return model


def still_model() -> MaskedVectorModel:
    """Return a fitted model that has learnt nothing."""
    return deepcopy(_still_model())


def test_untrained_it_is_a_gaussian_about_the_continuation() -> None:
    """Its mean is the fill, and the truth lies as far from it as the hints say: one in units of theirs."""
    model, x = still_model(), smooth(4, (5, 3))
    known = squares(x)
    evidence = model.evidence(x, known, None)
    draws = torch.stack([model.sample(x * known, known, rng=streams(4, seed)) for seed in range(16)])
    assert evidence.hint is not None
    fill, hidden = evidence.hint.fill, ~known
    spread = draws.std(0)[hidden].square().mean().sqrt()
    assert (draws.mean(0) - fill)[hidden].abs().mean() < 0.3 * spread
    with torch.no_grad():
        loss = float(model.loss(smooth(12, (5, 3), seed=5), rng=streams(12)))
    assert 0.4 < loss < 2.0, "the error of the fill, in units of the hints"


@every_shape
def test_vectors_of_any_block_are_drawn_and_learnt(shape: tuple[int, int]) -> None:
    model, x = still_model(), smooth(3, shape)
    known = squares(x)
    drawn = model.sample(torch.where(known, x, torch.nan), known, rng=streams(3))
    assert drawn.shape == x.shape and drawn.isfinite().all()
    torch.testing.assert_close(drawn[known], x[known])  # of an exact tokenizer
    assert model.loss(x, rng=streams(3)).isfinite()


@pytest.mark.parametrize(("axes", "shape"), [("tyx", (5, 1)), ("zyx", (1, 5))])
def test_clips_and_stacks_are_blocks_of_one_slice_or_phase(axes: Any, shape: tuple[int, int]) -> None:
    model, x = still_model(), smooth(2, shape)
    known, axis = squares(x), 3 if axes == "tyx" else 2
    want = model.sample(x * known, known, rng=streams(2), condition={"fill": 0.9 * x})
    model.axes = axes
    parts = [part.squeeze(axis) for part in (x * known, known, 0.9 * x)]
    assert torch.equal(model.sample(*parts[:2], rng=streams(2), condition={"fill": parts[2]}), want.squeeze(axis))


def test_what_is_known_everywhere_comes_back_with_all_its_detail() -> None:
    """Also where the tokenizer cannot hold it."""

    class Coarse(SmallTokenizer):
        """Keeps the means of patches only."""

        def decode(self, vectors: Tensor) -> Tensor:
            return super().decode(vectors.mean(1, keepdim=True).expand_as(vectors))

    model, x = MaskedVectorModel(Still(), Normal(), Coarse(), axes="tzyx").eval(), small_items(2, (3, 2, 4, 4))
    every = torch.ones_like(x, dtype=torch.bool)
    torch.testing.assert_close(model.sample(x, every, rng=streams(2)), x)
    plain = model.sample(x, ~every, rng=streams(2))
    patch = plain.unfold(-2, 2, 2).unfold(-2, 2, 2).flatten(-2)
    assert torch.equal(patch, patch[..., :1].expand_as(patch)), "where nothing is known there is nothing to carry over"


def test_known_positions_are_told_as_certain() -> None:
    x = smooth(2, (3, 2))
    known = squares(x)
    told = still_model().evidence(x, known, None).told
    assert told.shape[1] == 2 * 4 + SHARES
    positions = known[:, 0, :, :, ::2, ::2]
    log = told[:, 4:8].movedim(1, -1)
    assert torch.equal(log[positions], torch.full_like(log[positions], LEAST).log())
    assert log[~positions].max() <= np.log(MOST) + 1e-6 and log[~positions].min() > np.log(LEAST) - 1e-6


def test_errors_weigh_by_what_they_do_and_blocks_alike() -> None:
    """A block with a tenth of the scale counts as much as another, and within a block what is uncertain most."""
    x = smooth(2, (3, 2))
    evidence = still_model().evidence(x, squares(x), None)
    assert evidence.hint is not None
    scale = torch.ones_like(evidence.hint.scale)
    scale[1] = 0.1
    scale[:, :, 0] *= 3
    even = Evidence(evidence.told, evidence.spread, evidence.hint._replace(scale=scale))
    places, error = torch.tensor([[0, 200]]).expand(2, -1), torch.zeros(2, 2, 4)
    error[0, 0], counted = 1.0, torch.ones(2, 2, 1)
    weight = torch.ones(4)
    assert even.mean_error(error, weight, places, counted) == pytest.approx(0.75 / 2)
    assert even.mean_error(error.flip(0), weight, places, counted) == pytest.approx(0.75 / 2)


# ---------------------------------------------------------------------- what is hidden
class Dense(MaskedNetwork):
    """Features of every position from the mean of all that is shown of the block."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.table = nn.Linear(4, 8), nn.Linear(8, 3 * 12)
        self.hint = nn.Linear(2 * 4 + SHARES, 8)

    def forward(self, vectors: Tensor, shown: Tensor, condition: Condition | None, hints: Tensor | None) -> Tensor:
        assert hints is not None and condition is not None and condition["time"].ndim == 3
        seen = torch.where(shown[..., None], self.enter(vectors), 0.0).mean(1, keepdim=True)
        return (seen + self.hint(hints)).tanh()

    def logits(self, features: Tensor, codes: Tensor, level: int) -> Tensor:
        return self.table(features).unflatten(-1, (3, 12))[..., level, :]


@cache
def _code_model() -> MaskedTokenModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MaskedTokenModel(Dense(), SmallTokenizer(), axes="tzyx").eval()
    model.fit(smooth(6, (3, 2), seed=9), rng=streams(1))
    return model


def code_model() -> MaskedTokenModel:
    """Return a fitted model of codes with weights of a seed."""
    return deepcopy(_code_model())


WAYS: list[dict[str, Any]] = [{}, {"order": "confidence"}, {"remask": 1}, {"output": "mean"}, {"entropy_bound": 30.0}]


def drawn_by(kind: str, x: Tensor, known: Tensor, rng: Streams, **options: Any) -> Tensor:
    model = still_model() if kind == "vectors" else code_model()
    return model.sample(torch.where(known, x, 0.0), known, rng=rng, **options)


@pytest.mark.parametrize(("kind", "options"), [("vectors", {}), *(("codes", way) for way in WAYS)], ids=str)
def test_no_hidden_voxel_reaches_any_frame(kind: str, options: dict[str, Any]) -> None:
    x = smooth(3, (3, 2))
    known = squares(x)
    known[0, :, 1], known[1, :, :, 0] = False, False  # a whole phase, and a whole slice
    model = still_model() if kind == "vectors" else code_model()
    want = model.sample(torch.where(known, x, 0.0), known, rng=streams(3), **options)
    for hidden in (torch.nan, 1e5):
        got = model.sample(torch.where(known, x, hidden), known, rng=streams(3), **options)
        assert torch.equal(got, want)


@pytest.mark.parametrize("kind", ["vectors", "codes"])
def test_a_leak_through_time_would_be_found(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive control: hints that look at a hidden voxel of another phase change what is drawn."""
    x = smooth(2, (3, 2))
    known = squares(x)
    known[:, :, 1] = False
    model = still_model() if kind == "vectors" else code_model()
    hints = model.hints if isinstance(model, MaskedVectorModel) else model.prior.hints  # type: ignore[union-attr]
    assert isinstance(hints, nn.Module)
    honest = hints.forward
    secret = x.clone()
    monkeypatch.setattr(hints, "forward", lambda t, y, k, *more: honest(t, secret, k | (k | True), *more))
    one = model.sample(x * known, known, rng=streams(2))
    secret = torch.where(known, x, -x)
    other = model.sample(x * known, known, rng=streams(2))
    assert not torch.equal(one[:, :, 1], other[:, :, 1])


@pytest.mark.parametrize(("kind", "options"), [("vectors", {}), *(("codes", way) for way in WAYS[:3])], ids=str)
def test_a_block_is_drawn_as_it_is_among_others(kind: str, options: dict[str, Any]) -> None:
    """Bit for bit, among blocks that have more or less hidden and so take more or fewer steps."""
    x = smooth(4, (3, 2))
    known = squares(x)
    known[0], known[1], known[3, :, 1:] = True, False, True
    model = still_model() if kind == "vectors" else code_model()
    together = model.sample(x * known, known, rng=streams(4), **options)
    for i in range(4):
        same = [part[i : i + 1].expand_as(part) for part in (x * known, known)]
        alone = model.sample(same[0], same[1], rng=Streams(0, [(i,)] * 4), **options)
        assert torch.equal(alone[0], together[i])


@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_batch_size_changes_rounding_at_most(size: int) -> None:
    model, x = still_model(), smooth(8, (3, 2))
    known = squares(x)
    want = model.sample(x * known, known, rng=streams(8))
    parts = [
        model.sample(
            (x * known)[i : i + size], known[i : i + size], rng=Streams(0, [(k,) for k in range(i, min(i + size, 8))])
        )
        for i in range(0, 8, size)
    ]
    torch.testing.assert_close(torch.cat(parts), want, atol=1e-4, rtol=1e-4)


@every_shape
def test_codes_of_any_block_are_drawn_and_learnt(shape: tuple[int, int]) -> None:
    model, x = code_model(), smooth(2, shape)
    known = squares(x)
    with CallCounter(model) as calls:
        drawn = model.sample(x * known, known, rng=streams(2))
    assert drawn.shape == x.shape and drawn.isfinite().all() and calls.count <= 16
    torch.testing.assert_close(drawn[known], x[known])
    assert model.loss(x, rng=streams(2)).isfinite()
