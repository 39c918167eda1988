"""The conformance suite, with the check that a regression must fail, and what it is: one answer, better than a fill."""

from collections.abc import Callable

import pytest
import torch

from cmrgz.errors import PluginError
from cmrgz.latents import smooth_fill
from cmrgz.registry import build_model, get_model
from cmrgz.rng import Streams
from cmrgz.testing.conformance import parametrize_with_checks
from cmrgz.testing.ranks import rank
from cmrgz.testing.subject import Subject, items, known_part, streams

ONE_ANSWER = "a regression has one answer, whatever the seed"


@parametrize_with_checks("regression", {"seeds_repeat_and_differ": ONE_ANSWER})
def test_it_conforms_but_for_what_it_is(check: Callable[[], None]) -> None:
    check()


def test_the_verdict_is_that_it_is_no_sampler() -> None:
    subject = Subject.of("regression")
    found = rank(lambda x, known, rng: subject.draw(x, known, rng=rng), items(16), known_part(16))
    assert found.line == "heuristic: one answer, whatever the seed"


def discs(n: int, seed: int) -> torch.Tensor:
    """Return items (n, 1, 64, 64) of a bright disc: its hidden edge is known from what is seen of it."""
    centre, radius = 16 + 32 * Streams(seed, [(i,) for i in range(n)]).uniform(2), 14
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    away = (rows - centre[:, 0, None, None]).hypot(columns - centre[:, 1, None, None])
    return torch.where(away < radius, 0.8, -0.8)[:, None]


def test_it_beats_the_smooth_fill_that_it_starts_from() -> None:
    model = Subject.of("regression").unfitted().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(120):
        optimizer.zero_grad()
        model.loss(discs(8, step), rng=streams(8, step)).backward()
        optimizer.step()
    x, known = discs(16, 999), known_part(16)
    with torch.no_grad():
        fills = (model.predict(torch.where(known, x, 0.0), known), smooth_fill(x, known))
    own, fill = ((filled - x).abs()[~known].mean() for filled in fills)
    assert own < 0.9 * fill


def test_a_width_that_does_not_divide_is_refused() -> None:
    with pytest.raises(PluginError, match="num_channels"):
        build_model(get_model("regression"), None, {"width": 6})
