"""What decodings draw of pictures whose posterior is known: the claims of the table of examples, on fewer draws."""

from typing import Any

import pytest
import torch

from cmrgz.testing.binned import BinTokenizer, causal_model, laws, masked_model
from cmrgz.testing.mixtures import Mixture, Score, hole, score

SIDE = 8
MIXTURE = Mixture.rings(SIDE)
MASKED, CAUSAL = masked_model(MIXTURE), causal_model(MIXTURE)
HOLES = [("scattered", 0.5), ("box", 0.25), ("bottom", 0.5), ("top", 0.5)]
every_hole = pytest.mark.parametrize("kind", HOLES, ids=str)


def measured(model: Any, kind: tuple[str, float], **options: Any) -> Score:
    return score(model, MIXTURE, hole(*kind, side=SIDE), 16, 16, **options)


@every_hole
def test_halton_and_any_order_draw_the_posterior(kind: tuple[str, float]) -> None:
    for found in (measured(MASKED, kind), measured(CAUSAL, kind)):
        assert found.energy < 1.1 and abs(found.bias) < 0.1 and 0.75 < found.variance < 1.35


def test_raster_order_draws_a_hidden_bottom_and_no_hidden_top() -> None:
    way = {"order": "forced", "parallel": 1}
    bottom, top = (measured(CAUSAL, (kind, 0.5), **way) for kind in ("bottom", "top"))
    assert bottom.energy < 1.1 and top.energy > 1.2 and top.bias > 0.5


def test_particles_are_between() -> None:
    forced, smc, exact = (
        measured(CAUSAL, ("top", 0.5), parallel=1, **way) for way in ({"order": "forced"}, {"order": "smc"}, {})
    )
    assert exact.energy < smc.energy < forced.energy


def test_the_best_orientation_draws_a_hidden_top() -> None:
    assert measured(CAUSAL, ("top", 0.5), order="orient", parallel=1).energy < 1.1


def test_confidence_without_noise_narrows() -> None:
    assert measured(MASKED, ("top", 0.5), order="confidence", gumbel=0.0).variance < 0.7


@pytest.mark.parametrize("model", [MASKED, CAUSAL], ids=["masked", "causal"])
def test_the_expected_picture_is_the_mean_in_one_call(model: Any) -> None:
    found = measured(model, ("box", 0.25), output="mean")
    assert found.calls == 1 and found.variance < 0.05 and abs(found.bias) < 0.02


def test_the_laws_are_those_of_the_mixture() -> None:
    known = hole("box", 0.25, side=SIDE).flatten()
    y = MIXTURE.sample(3, torch.Generator().manual_seed(0))
    log, mean, variance = laws(MIXTURE, y, known.expand(3, -1)).chunk(3, -1)
    own = (log.exp() * mean).sum(-1)
    spread = (log.exp() * (variance + mean.square())).sum(-1) - own.square()
    expected, deviation = MIXTURE.posterior(y, known).moments()
    torch.testing.assert_close(own[:, ~known], expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(spread[:, ~known], deviation, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(own[:, known], y[:, known], atol=1e-6, rtol=1e-6)


def test_the_laws_of_an_item_do_not_depend_on_what_is_shown_of_others() -> None:
    y = MIXTURE.sample(4, torch.Generator().manual_seed(0))
    shown = torch.rand(4, SIDE**2, generator=torch.Generator().manual_seed(1)) < torch.tensor(
        [[0.0], [0.3], [0.9], [1]]
    )
    together = laws(MIXTURE, y, shown)
    for i in range(4):
        torch.testing.assert_close(laws(MIXTURE, y[i : i + 1], shown[i : i + 1])[0], together[i])


def test_a_value_is_its_bins() -> None:
    tokenizer = BinTokenizer()
    x = MIXTURE.sample(5, torch.Generator().manual_seed(0)).float().view(5, 1, SIDE, SIDE)
    codes = tokenizer.quantise(x)
    near = sum(tokenizer.embed(codes[..., level], level) for level in range(2))
    assert (near[..., 0] - x[:, 0]).abs().max() <= tokenizer.fine / 2 + 1e-5
