"""Hints: exact where known, about as wrong as they say where not, free of hidden values."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cmrgz.features import SHARES
from cmrgz.hints import Hints
from cmrgz.holes import training_known
from cmrgz.latents import framewise, known_positions, patches, position_pixels, unpatch
from cmrgz.model import Condition, Tokenizer
from cmrgz.rng import Streams

SHAPES = [(1, 1), (5, 3), (12, 1), (1, 5)]


class Patches(Tokenizer):
    """The pixels of a patch, as they are."""

    patch, channels = 4, 16

    def encode(self, x: Tensor) -> Tensor:
        return patches(x, 4)

    def decode(self, vectors: Tensor) -> Tensor:
        return unpatch(vectors, 4)

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        raise AssertionError


def blocks(n: int, t: int = 5, z: int = 3, side: int = 32, seed: int = 0) -> Tensor:
    """Return blocks (n, 1, t, z, side, side): smooth pictures that drift and change from slice to slice."""
    g = torch.Generator().manual_seed(seed)
    start, drift, other = (torch.randn(n, 1, k, k, generator=g) for k in (8, 4, 6))
    start, drift, other = (F.interpolate(part, side, mode="bicubic") for part in (start, drift, other))
    times, heights = torch.arange(t)[None, :, None, None, None] / 5, torch.arange(z)[None, None, :, None, None] / 3
    x = start[:, :, None] + drift[:, :, None] * times + other[:, :, None] * heights
    return (x / 3 + 0.03 * torch.randn(x.shape, generator=g)).clamp(-1, 1)[:, None]


def hidden_as_in_training(x: Tensor, seed: int = 7) -> Tensor:
    grid = (*x.shape[2:4], x.shape[-2] // 4, x.shape[-1] // 4)
    return position_pixels(training_known(grid, Streams(seed, [(i,) for i in range(len(x))])), 4)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "rotated"])
def hints(request: pytest.FixtureRequest) -> Hints:
    made = Hints(16, rotate=request.param)
    made.fit(Patches(), blocks(48, 11, 5), Streams(0, [("fit",)]))
    return made


def test_errors_are_about_as_large_as_is_said(hints: Hints) -> None:
    x = blocks(32, seed=1)
    known = hidden_as_in_training(x)
    hint = hints(Patches(), x, known, None)
    error = (framewise(patches4, x) - hint.mean).movedim(1, -1) @ hints.basis
    units = error / hint.scale.movedim(1, -1)
    some = known.flatten(1).any(1)
    hidden = ~known_positions(known, 4) & some[:, None, None, None, None]
    assert 0.7 < float(units[hidden].square().mean().sqrt()) < 1.4
    sure, unsure = (units[hidden & part].square().mean().sqrt() for part in _halves(hint.scale, hidden))
    assert 0.6 < float(sure / unsure) < 1.7, "calibrated for one alone"


def test_errors_of_a_fill_of_more_than_the_block_are_told_apart(hints: Hints) -> None:
    """A fill of the whole scan knows what lies beyond a block, and its error is smaller at the ends of it."""
    x = blocks(24, 9, 5, seed=3)
    known = hidden_as_in_training(x)
    errors: list[list[Tensor]] = [[], []]
    for _, part in hints.inner_parts(x, known, Streams(5, [("test",)])):
        hidden = ~known_positions(part.known, 4)
        if not part.known.any() or not hidden.any():
            continue
        for condition, found in zip((None, {"fill": torch.cat([part.fill, part.near], 1)}), errors, strict=True):
            hint = hints(Patches(), part.x, part.known, condition)
            units = (framewise(patches4, part.x) - hint.mean).movedim(1, -1) @ hints.basis
            found.append((units / hint.scale.movedim(1, -1))[hidden])
    alone, continued = (torch.cat(found).square().mean().sqrt() for found in errors)
    assert 0.7 < float(alone) < 1.4 and 0.7 < float(continued) < 1.4


def test_an_inner_part_lies_in_its_block(hints: Hints) -> None:
    x = blocks(12, 9, 5, seed=4)
    known = hidden_as_in_training(x)
    starts = set()
    for i, (whole, part) in enumerate(hints.inner_parts(x, known, Streams(0, [("test",)]))):
        assert torch.equal(whole.x, x[i : i + 1]) and part.x.shape[2:4] == (3, 3)
        places = [
            (t, z) for t in range(7) for z in range(3) if torch.equal(part.x, whole.x[:, :, t : t + 3, z : z + 3])
        ]
        assert len(places) == 1
        t, z = places[0]
        assert torch.equal(part.fill, whole.fill[:, :, t : t + 3, z : z + 3])
        starts.add((t, z))
    assert len(starts) > 3, "anywhere in it"


def _halves(scale: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    own = scale.mean(1)
    middle = own[hidden].median()
    return own <= middle, own > middle


def patches4(x: Tensor) -> Tensor:
    return patches(x, 4)


def test_known_positions_are_exact(hints: Hints) -> None:
    x = blocks(8, seed=2)
    known = hidden_as_in_training(x)
    hint = hints(Patches(), x, known, None)
    where = known_positions(known, 4)[:, None].expand_as(hint.mean)
    assert torch.equal(hint.mean[where], framewise(patches4, x)[where])


@pytest.mark.parametrize("shape", SHAPES)
def test_no_hidden_value_reaches_a_hint(hints: Hints, shape: tuple[int, int]) -> None:
    x = blocks(3, *shape, seed=3)
    known = hidden_as_in_training(x)
    hint = hints(Patches(), torch.where(known, x, 0.0), known, None)
    again = hints(Patches(), torch.where(known, x, torch.nan), known, None)
    assert all(torch.equal(a, b) for a, b in zip(hint, again, strict=True))
    assert hint.shares.shape == (3, SHARES, *shape, 8, 8) and hint.scale.shape == hint.mean.shape == (
        3,
        16,
        *shape,
        8,
        8,
    )
    assert float(hint.shares.min()) >= 0 and float(hint.shares.max()) <= 1 and float(hint.scale.min()) > 0


def test_nothing_known_says_what_the_data_are(hints: Hints) -> None:
    x = blocks(2)
    hint = hints(Patches(), x, torch.zeros_like(x, dtype=torch.bool), None)
    assert torch.allclose(hint.mean[0, :, 0, 0, 0, 0], hints.mean) and not hint.shares.any()
    assert torch.allclose(hint.scale[1, :, 2, 1, 3, 4], hints.spread)


def test_a_fill_of_the_whole_scan_is_used_and_what_was_drawn_is_no_evidence(hints: Hints) -> None:
    x = blocks(1)
    known = torch.zeros_like(x, dtype=torch.bool)
    known[:, :, 0] = True
    whole = torch.where(known, x, 0.25)
    before = hints(Patches(), x, known, {"fill": whole})
    assert torch.equal(before.fill, whole)
    known[:, :, 2] = True  # drawn by an earlier block
    after = hints(Patches(), x, known, {"fill": whole})
    assert torch.equal(after.fill[known], x[known]) and torch.equal(after.fill[:, :, 1], whole[:, :, 1])
    assert torch.equal(after.shares, before.shares)


def test_a_block_that_knows_only_what_was_drawn_continues_it(hints: Hints) -> None:
    x = blocks(1)
    known = torch.zeros_like(x, dtype=torch.bool)
    known[:, :, 0] = True
    fill = hints(Patches(), x, known, {"fill": torch.zeros_like(x)})
    assert float((fill.fill[:, :, 1] - x[:, :, 0]).abs().mean()) < 0.05 and fill.shares.any()


def test_a_block_does_not_depend_on_its_neighbours(hints: Hints) -> None:
    x = blocks(8, seed=5)
    known = hidden_as_in_training(x)
    together = hints(Patches(), x, known, None)
    for i in (0, 7):
        alone = hints(Patches(), x[i : i + 1], known[i : i + 1], None)
        assert all(torch.allclose(a[i], b[0], atol=1e-5) for a, b in zip(together, alone, strict=True))
