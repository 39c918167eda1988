"""The scale transformer: what sees what, and that the cache changes nothing."""

import pytest
import torch
from cmrgz_ar_var.model import ScaleModel
from cmrgz_ar_var.network import Sight
from torch import Tensor

CONDITION = {"phase": torch.tensor([0.1, torch.nan, 0.3, 0.5, 0.7, 0.9])}


def sights_of(model: ScaleModel, x: Tensor, known: Tensor) -> tuple[Sight, list[Sight]]:
    """Return the evidence, and what each scale is shown when the coarser codes are those of the items."""
    evidence = model.evidence(x, known)
    sums = model.tokenizer.code(model.tokenizer.encode(x)).sums
    before = [torch.zeros_like(evidence.fill), *sums[:-1]]
    return model.sight(evidence.fill, evidence, -1), [model.sight(part, evidence, i) for i, part in enumerate(before)]


@torch.no_grad()
def test_cached_is_uncached(model: ScaleModel, items: Tensor, known: Tensor) -> None:
    evidence, sights = sights_of(model, items, known)
    cache = model.network.start(evidence, CONDITION)
    whole = model.network.train_states(evidence, sights, CONDITION)
    for scale, sight in enumerate(sights):
        torch.testing.assert_close(model.network(cache, scale, sight), whole[scale], rtol=1e-4, atol=1e-5)


def other(sight: Sight, cell: int) -> Sight:
    """Return a sight of which one cell shows something else."""
    drawn = sight.drawn.clone()
    drawn[:, cell] += 0.5
    return sight._replace(drawn=drawn)


@pytest.mark.parametrize("scale", [0, 1, 2])
@torch.no_grad()
def test_a_scale_sees_itself_and_the_coarser_ones(model: ScaleModel, items: Tensor, known: Tensor, scale: int) -> None:
    evidence, sights = sights_of(model, items, known)
    before = model.network.train_states(evidence, sights, None)
    sights[scale] = other(sights[scale], 0)
    after = model.network.train_states(evidence, sights, None)
    for number in range(3):
        same = (before[number] == after[number]).all(-1)
        assert bool(same.all()) if number < scale else not same.any(), f"scale {number} when {scale} changes"


@torch.no_grad()
def test_every_cell_of_every_scale_sees_the_evidence(model: ScaleModel, items: Tensor, known: Tensor) -> None:
    evidence, sights = sights_of(model, items, known)
    before = model.network.train_states(evidence, sights, None)
    fill = evidence.fill.clone()
    fill[:, 5] += 0.5
    after = model.network.train_states(evidence._replace(fill=fill), sights, None)
    assert all(not (a == b).all(-1).any() for a, b in zip(before, after, strict=True))


def test_tokens_have_places_of_their_own(model: ScaleModel) -> None:
    """Centres in half positions: of squares of 2 in the evidence and at the finest scale, of 4 at the coarsest."""
    network, width = model.network, 2 * 4
    assert [end - start for start, end in network.spans] == [8, 2, 8, 8]
    centres = network.get_buffer("centres")[0]
    assert centres[:2].tolist() == [1 * width + 1, 1 * width + 5]
    assert centres[8:10].tolist() == [3 * width + 3, 11 * width + 3]
    assert torch.equal(centres[10:18], centres[18:26]) and torch.equal(centres[:8], centres[10:18])


def test_squares_give_each_cell_its_own_features(model: ScaleModel) -> None:
    """What enters at a cell comes out at that cell, although its token holds four."""
    squares = model.network.squares(2)
    own = torch.zeros(1, 32, 16)
    tokens = squares.join(own)
    changed = own.clone()
    changed[0, 13] = 1.0
    row, column = divmod(13, 4)
    touched = (squares.join(changed) != tokens).any(-1)[0].nonzero()[:, 0].tolist()
    assert touched == [(row // 2) * 2 + column // 2]
    out = (squares.part(tokens, changed) != squares.part(tokens, own)).any(-1)[0].nonzero()[:, 0].tolist()
    assert out == [13]


def test_the_codes_are_looked_up_and_not_stored(model: ScaleModel) -> None:
    assert not [name for name in model.network.state_dict() if "fixed" in name]
    for scale in range(3):
        raw = model.tokenizer.features(scale, torch.device("cpu"))
        fixed = model.network.head(scale).get_buffer("fixed")[..., :4]
        centred = raw - raw.mean(1, keepdim=True)
        torch.testing.assert_close(fixed * raw.flatten(1).std(1)[:, None, None], centred)
