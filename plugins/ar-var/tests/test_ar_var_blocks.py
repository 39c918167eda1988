"""ar-var on blocks: known cells of all frames, what frames tell one another, and the closed form of its codes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from cmrgz_ar_var.cells import numbers
from cmrgz_ar_var.model import ScaleModel, build
from cmrgz_ar_var.prior import Leaning, _shift
from torch import Tensor

from cmrgz import checkpoint
from cmrgz.latents import known_positions
from cmrgz.rng import Streams
from cmrgz.testing.subject import Subject, streams
from cmrgz.tokens.prior import frames_of
from cmrgz.tokens.scales import known_cells

from .conftest import GRID, random_pyramid

PIXELS = (2 * GRID[0], 2 * GRID[1])
SHAPES = ((1, 1), (5, 3), (12, 1), (1, 5))


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject.every("ar-var")[-1]


def blocks(count: int, t: int = 3, z: int = 2, seed: int = 0, noise: float = 0.15) -> Tensor:
    """Return blocks (count, 1, t, z, 16, 8): frames of one picture and some noise of their own."""
    generator = torch.Generator().manual_seed(seed)
    still = torch.randn(count, 1, 1, 1, PIXELS[0] // 2, PIXELS[1] // 2, generator=generator)
    still = 0.5 * still.repeat_interleave(2, -1).repeat_interleave(2, -2)
    return still + noise * torch.randn(count, 1, t, z, *PIXELS, generator=generator)


def squares(x: Tensor, seed: int = 1) -> Tensor:
    """Return known pixels: squares of 4 x 4, other ones in each frame, of the first block all, of the second none."""
    generator = torch.Generator().manual_seed(seed)
    cell = torch.rand(*x.shape[:4], PIXELS[0] // 4, PIXELS[1] // 4, generator=generator) < 0.5
    known = cell.repeat_interleave(4, -1).repeat_interleave(4, -2)
    known[0], known[1] = True, False
    return known


def make_model(shake: float = 0.05, noise: float = 0.15) -> ScaleModel:
    """Return a fitted model, all of whose weights are a little random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(
            random_pyramid(), GRID, width=32, heads=2, inner=48, local=16, head_inner=32, layers=2, free=4, axes="tzyx"
        )
        for parameter in model.network.parameters():
            parameter.data += shake * torch.randn(parameter.shape)
    model.fit(blocks(12, seed=9, noise=noise), rng=Streams(0, [("fit",)]))
    return model.eval()


@pytest.fixture(scope="module")
def model() -> ScaleModel:
    return make_model()


def sample(model: ScaleModel, x: Tensor, known: Tensor, rng: Streams | None = None, **options: Any) -> Tensor:
    return model.sample(torch.where(known, x, 0.0), known, rng=rng or streams(len(x)), **options)


@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_of_any_shape_are_drawn_and_learnt(model: ScaleModel, shape: tuple[int, int]) -> None:
    x = blocks(3, *shape)
    known = squares(x)
    drawn = sample(model, x, known)
    assert drawn.shape == x.shape and drawn.isfinite().all()
    torch.testing.assert_close(drawn[known], x[known])  # this tokenizer is exact
    assert model.loss(x, rng=streams(3)).isfinite()


def test_no_hidden_voxel_reaches_any_code_of_any_frame(model: ScaleModel) -> None:
    x = blocks(3)
    known = squares(x)
    known[2, :, 1] = False
    want = model.draw_codes(torch.where(known, x, 0.0), known, None, streams(3))
    for hidden in (torch.nan, 1e4):
        got = model.draw_codes(torch.where(known, x, hidden), known, None, streams(3))
        assert all(torch.equal(a, b) for a, b in zip(want.codes + want.sums, got.codes + got.sums, strict=True))


@torch.no_grad()
def test_a_leak_through_time_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive control: evidence that holds a hidden frame changes the codes of it, and of others."""
    model, x = make_model(shake=0.3), blocks(3)
    known = squares(x)
    known[2, :, 1] = False
    honest, every = model.evidence(x, known), model.evidence(x, torch.ones_like(known))
    leaky = honest.fill.clone().unflatten(0, (3, 3, 2))
    leaky[2, 1] = every.fill.unflatten(0, (3, 3, 2))[2, 1]
    monkeypatch.setattr(model, "evidence", lambda *more: honest.__class__(
        leaky.flatten(0, 2), honest.given, honest.sure, honest.variance, honest.hint, honest.places))  # fmt: skip
    got = model.draw_codes(torch.where(known, x, 0.0), known, None, streams(3)).codes[-1].unflatten(0, (3, 3, 2))
    monkeypatch.undo()
    want = model.draw_codes(torch.where(known, x, 0.0), known, None, streams(3)).codes[-1].unflatten(0, (3, 3, 2))
    assert (got[2, 1] != want[2, 1]).any() and (got[2, 0] != want[2, 0]).any() and torch.equal(got[:2], want[:2])


@torch.no_grad()
def test_known_cells_of_every_frame_are_requantised_against_what_is_drawn(model: ScaleModel) -> None:
    x, tokenizer = blocks(4), model.tokenizer
    known = squares(x)
    given = frames_of(known_positions(known, 2)[:, None])[:, 0]
    exact = tokenizer.encode(frames_of(x))
    coded = model.draw_codes(torch.where(known, x, 0.0), known, None, streams(4))
    before = torch.zeros_like(exact)
    for scale, stride in enumerate(tokenizer.strides):
        cells = known_cells(given, stride)
        assert torch.equal(
            coded.codes[scale][cells], tokenizer.quantise(tokenizer.pool(exact - before, scale), scale)[cells]
        )
        before = coded.sums[scale]
    assert cells.any() and not cells.all()


@torch.no_grad()
def test_cached_is_uncached(model: ScaleModel) -> None:
    x = blocks(3)
    evidence = model.evidence(x, squares(x))
    sums = model.tokenizer.code(model.tokenizer.encode(frames_of(x))).sums
    drawn = [torch.zeros_like(evidence.fill), *sums[:-1]]
    sights = [model.sight(part, evidence, scale) for scale, part in enumerate(drawn)]
    whole = model.network.train_states(model.sight(evidence.fill, evidence, -1), sights, None, evidence.places)
    cache = model.network.start(model.sight(evidence.fill, evidence, -1), None, evidence.places)
    for scale, sight in enumerate(sights):
        torch.testing.assert_close(model.network(cache, scale, sight), whole[scale], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_scale_of_one_frame_sees_coarser_ones_of_all_and_finer_ones_of_none(model: ScaleModel) -> None:
    x = blocks(1)
    evidence = model.evidence(x, torch.zeros_like(x, dtype=torch.bool))
    sums = model.tokenizer.code(model.tokenizer.encode(frames_of(x))).sums
    drawn = [torch.zeros_like(evidence.fill), *sums[:-1]]
    sights = [model.sight(part, evidence, scale) for scale, part in enumerate(drawn)]

    def states(shown: list[Any]) -> list[Tensor]:
        return model.network.train_states(model.sight(evidence.fill, evidence, -1), shown, None, evidence.places)

    other = sights[1].drawn.clone()
    other[0] += 0.5  # the middle scale of the first frame
    changed = states([sights[0], sights[1]._replace(drawn=other), sights[2]])
    for scale, (a, b) in enumerate(zip(states(sights), changed, strict=True)):
        same = (a == b).all(-1)
        assert bool(same.all()) if scale == 0 else not same.any()


def test_a_block_is_drawn_as_it_is_among_others(model: ScaleModel) -> None:
    x = blocks(4)
    known = squares(x)
    together = sample(model, x, known)
    for i in range(4):
        same, own = x[i : i + 1].expand_as(x), known[i : i + 1].expand_as(known)
        assert torch.equal(sample(model, same, own, Streams(0, [("item", i)] * 4))[0], together[i])


@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_batch_size_changes_rounding_at_most(model: ScaleModel, size: int) -> None:
    x = blocks(8)
    known = squares(x)
    want, given = sample(model, x, known), torch.where(known, x, 0.0)
    for i in range(0, 8, size):
        part = slice(i, min(i + size, 8))
        rng = Streams(0, [("item", k) for k in range(part.start, part.stop)])
        torch.testing.assert_close(model.sample(given[part], known[part], rng=rng), want[part], atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------------- flicker
def test_phases_share_their_numbers_and_slices_do_not() -> None:
    both = numbers(streams(2), (3, 2), 5, 4, "phases").view(2, 3, 2, 5, 4)
    assert torch.equal(both[:, 0], both[:, 2]) and not torch.equal(both[:, :, 0], both[:, :, 1])
    none = numbers(streams(2), (3, 2), 5, 4, "none").view(2, 6, 20)
    assert len(none[0].unique(dim=0)) == 6
    assert torch.equal(numbers(streams(2), (), 5, 4, "phases"), streams(2).uniform(5, 4)), "frames as ever"


def test_coupled_phases_flicker_less(model: ScaleModel) -> None:
    nothing = torch.zeros(6, 1, 5, 1, *PIXELS, dtype=torch.bool)
    steps = [
        sample(model, nothing.float(), nothing, coupled=way).diff(dim=2).abs().mean() for way in ("phases", "none")
    ]
    assert steps[0] < 0.7 * steps[1]


# ---------------------------------------------------------------------- the closed form
@torch.no_grad()
def test_the_closed_form_knows_more_of_codes_than_their_frequency() -> None:
    """On new blocks, at every scale and level: the likelihood of hidden codes with it is above that without."""
    model, x = make_model(shake=0.0), blocks(12, seed=77)
    assert model.prior is not None
    known = squares(x, seed=5)
    known[1] = known[2]
    evidence, tokenizer = model.evidence(x, known), model.tokenizer
    coded, drawn = tokenizer.code(tokenizer.encode(frames_of(x))), torch.zeros_like(evidence.fill)
    for scale, codes in enumerate(coded.codes):
        hidden = ~known_cells(evidence.given, tokenizer.strides[scale]).flatten(1)
        expected = model.prior.expected(tokenizer, drawn, evidence, scale)[hidden]
        own, head = codes.flatten(1, 2)[hidden], model.network.head(scale)
        law = model.prior.leaning(tokenizer, head, scale)
        for level in range(own.shape[1]):
            usual = head.bias[level].expand(len(own), -1)
            loss = torch.nn.functional.cross_entropy
            assert loss(usual + law.alone(expected, own, level), own[:, level]) < loss(usual, own[:, level]) - 0.02
        drawn = coded.sums[scale]


@torch.no_grad()
def test_nothing_known_leans_nowhere(model: ScaleModel) -> None:
    x = blocks(2)
    known = torch.zeros_like(x, dtype=torch.bool)
    known[0, ..., :8, :] = True
    evidence = model.evidence(x, known)
    assert model.prior is not None
    trust = model.prior.expected(model.tokenizer, torch.zeros_like(evidence.fill), evidence, 2).chunk(2, -1)[1]
    assert not trust[6:].any() and trust[:6].any() and (trust >= 0).all()


@torch.no_grad()
def test_codes_stand_for_what_the_fill_has_in_their_cells() -> None:
    """With the true codes, vectors come nearer to the truth; where nothing is known they stay as they are."""
    model, x = make_model(noise=0.03), blocks(12, seed=77, noise=0.03)
    known = squares(x, seed=5)
    evidence, exact = model.evidence(x, known), model.tokenizer.encode(frames_of(x))
    assert model.prior is not None
    drawn = model.tokenizer.code(exact).sums[-1]
    refined = model.prior.refined(model.tokenizer, drawn, evidence)
    nothing = slice(6, 12)
    assert torch.equal(refined[nothing], drawn[nothing])
    hidden = ~evidence.given
    hidden[nothing] = False
    before, after = ((part - exact).square().sum(1)[hidden].mean() for part in (drawn, refined))
    assert after < 0.95 * before
    assert after < (evidence.fill - exact).square().sum(1)[hidden].mean()


def test_a_certain_cell_gets_the_nearest_code() -> None:
    books = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    law = Leaning(lambda states, codes, level: states, books, torch.full((2,), 1e-3), torch.ones(2), torch.zeros(2, 6))
    near = torch.cat([books[0, 4] + books[1, 2], torch.full((3,), 1e4)])[None]
    assert (
        int(law.alone(torch.cat([books[0, 4], near[0, 3:]])[None], torch.zeros(1, 0, dtype=torch.long), 0).argmax())
        == 4
    )
    assert int(law.alone(near, torch.tensor([[4]]), 1).argmax()) == 2
    told = law(torch.cat([torch.ones(1, 6), near], 1), torch.tensor([[4]]), 1)
    torch.testing.assert_close(told, 1 + law.alone(near, torch.tensor([[4]]), 1))


def test_shifts_make_codes_as_frequent_as_they_are() -> None:
    logits = 2 * torch.randn(500, 5, generator=torch.Generator().manual_seed(0))
    usual = torch.tensor([0.5, 0.2, 0.1, 0.15, 0.05]).log()
    share = (logits + usual + _shift(logits, usual)).softmax(-1).mean(0)
    torch.testing.assert_close(share, usual.exp(), atol=0.01, rtol=0)


# ---------------------------------------------------------------------- training, keeping
def test_gradients_reach_every_weight() -> None:
    model = make_model().train()
    for seed in range(3):
        model.loss(blocks(3, seed=seed), rng=streams(3, seed)).backward()
    trained = {**dict(model.network.named_parameters()), **dict(model.prior.named_parameters())}  # type: ignore[union-attr]
    unreached = {name for name, p in trained.items() if p.grad is None or not p.grad.any()}
    assert all(name.startswith("condition.known") for name in unreached), unreached


def test_a_little_training_helps(subject: Subject) -> None:
    def error(model: torch.nn.Module) -> float:
        assert isinstance(model, ScaleModel)
        with torch.no_grad():
            return float(sum(model.loss(subject.items(seed=500 + i), rng=streams(4, i)) for i in range(4)))

    assert error(subject.trained(25)) < 0.98 * error(subject.fresh())


def test_a_checkpoint_keeps_the_hints(subject: Subject, tmp_path: Path) -> None:
    subject.save(tmp_path / "c")
    again, meta = checkpoint.open_model(tmp_path / "c")
    assert isinstance(again, ScaleModel) and again.prior is not None and meta.options["axes"] == "tzyx"
    assert bool((again.prior.hints.spread != 1).any()) and bool((again.prior.gain != 1).any())
    x, known = subject.items(2), subject.known_part(2)
    assert torch.equal(subject.draw(x * known, known, model=again.eval()), subject.draw(x * known, known))


def test_a_frame_model_has_the_tensors_it_had() -> None:
    frames = build(
        random_pyramid(), GRID, width=32, heads=2, inner=48, local=16, head_inner=32, layers=2, free=4
    ).state_dict()
    added = set(make_model().state_dict()) - set(frames)
    assert all(name.startswith(("prior.", "network.along.")) for name in added)
    assert not any(name.startswith(("prior.", "network.along.")) for name in frames)
