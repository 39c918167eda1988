"""Rotary positions, the store and attention."""

import math

import pytest
import torch
from cmrgz_ar_vq.attention import ContentLayer, Store, reach, stored, visible

from cmrgz.tokens.layers import Attention, GridRotary, rotate

GRID = (6, 7)


@pytest.fixture(scope="module")
def rotary() -> GridRotary:
    return GridRotary(GRID, 16)


def score(rotary: GridRotary, q: torch.Tensor, k: torch.Tensor, at: tuple[int, int], to: tuple[int, int]) -> float:
    places = [torch.tensor([[row * GRID[1] + column]]) for row, column in (at, to)]
    a, b = (rotate(x[None, None, None], rotary(place)) for x, place in zip((q, k), places, strict=True))
    return float((a * b).sum())


def test_scores_depend_on_the_offset_alone(rotary: GridRotary) -> None:
    q, k = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    for (row, column), (down, right) in [((0, 0), (3, 4)), ((1, 2), (2, -2)), ((2, 3), (-1, 1))]:
        base = score(rotary, q, k, (row, column), (row + down, column + right))
        moved = score(rotary, q, k, (row + 1, column + 2), (row + down + 1, column + right + 2))
        assert moved == pytest.approx(base, abs=1e-5)
        assert score(rotary, q, k, (row, column), (row + down, column + right + 1)) != pytest.approx(base, abs=1e-3)
        assert score(rotary, q, k, (row, column), (row + down + 1, column + right)) != pytest.approx(base, abs=1e-3)


def test_rows_and_columns_turn_different_halves(rotary: GridRotary) -> None:
    q, k = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    down = score(rotary, q, k, (0, 0), (2, 0))
    right = score(rotary, q, k, (0, 0), (0, 2))
    assert down != pytest.approx(right, abs=1e-3)


def test_turning_keeps_lengths_and_the_start_token(rotary: GridRotary) -> None:
    x = torch.randn(1, 1, 43, 16)
    turned = rotate(x, rotary(torch.arange(43)[None]))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, :, 42], x[:, :, 42])  # the number of positions stands for the start
    assert torch.equal(turned[:, :, 0], x[:, :, 0])
    assert not torch.allclose(turned[:, :, 41], x[:, :, 41])


def test_no_two_positions_are_turned_alike(rotary: GridRotary) -> None:
    cos, sin = rotary(torch.arange(42)[None])
    angle = torch.cat([cos, sin], -1)[0, 0]
    apart = (angle[:, None] - angle).norm(dim=-1) + torch.eye(42) * 9
    assert apart.min() > 0.3


def test_a_store_writes_rows_and_nothing_else() -> None:
    store = Store(2, 3, 5, 4, torch.zeros(()))
    keys, values = torch.randn(2, 2, 3, 2, 4)
    slots = torch.tensor([[4, 0], [1, 2]])
    store.write(keys, values, (slots + 5 * torch.arange(2)[:, None]).flatten())
    for item in range(2):
        for slot in range(5):
            hit = (slots[item] == slot).nonzero()
            for kept, new in ((store.keys, keys), (store.values, values)):
                expected = new[item, :, hit[0, 0]] if len(hit) else torch.zeros(3, 4)
                assert torch.equal(kept[item, :, slot], expected)


def test_attention_is_a_softmax_over_what_is_seen() -> None:
    attention = Attention(8, 2)
    x, content = torch.randn(3, 2, 8), torch.randn(3, 5, 8)
    rotary = GridRotary((2, 3), 4)
    here, there = rotary(torch.tensor([[0, 1]] * 3)), rotary(torch.tensor([[0, 1, 2, 3, 4]] * 3))
    seen = torch.rand(3, 1, 2, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    seen[..., 0] = True
    keys, values = attention.keys_values(content, there)
    y = attention(x, here, keys, values, visible(seen, x))
    queries = rotate(attention.query_norm(attention.query(x).unflatten(-1, (2, 4)).transpose(1, 2)), here)
    share = (queries @ keys.mT / 2).masked_fill(~seen, -torch.inf).softmax(-1)
    expected = attention.out((share @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(y, expected)
    assert attention.out(values[:, :, 0].flatten(1)).isfinite().all()


def test_a_content_layer_writes_what_it_computes_at_once() -> None:
    layer, rotary = ContentLayer(8, 2, 12), GridRotary((2, 3), 4)
    x = torch.randn(2, 6, 8)
    whole = layer(x, rotary(torch.arange(6).expand(2, -1)))
    store = Store(2, 2, 6, 4, x)
    for start, stop in ((0, 2), (2, 3), (3, 6)):
        slots = torch.arange(start, stop).expand(2, -1)
        bias = visible(torch.arange(6) <= slots[:, None, :, None], x)
        rows = (slots + 6 * torch.arange(2)[:, None]).flatten()
        y = layer.extend(x[:, start:stop], rotary(slots), store, rows, bias)
        torch.testing.assert_close(y, whole[:, start:stop], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("slots, held", [(258, 264), (264, 264), (1, 8)])
def test_a_store_has_slots_that_kernels_of_a_gpu_take_as_they_are(slots: int, held: int) -> None:
    last = torch.tensor([[0, slots - 1]])
    assert stored(slots) == held == reach(last.to("meta"), slots)
    assert reach(last, slots) == slots, "the last bits of a CPU depend on how many it looks at"


def test_what_is_added_to_scores_is_of_the_type_that_attention_has() -> None:
    seen = torch.tensor([True, False])
    assert visible(seen, torch.zeros(1)).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert visible(seen, torch.zeros(1)).tolist() == [0, -math.inf]
        assert visible(seen, torch.zeros(1)).dtype == torch.bfloat16
