"""Against a toy whose posterior can be listed: a tree of codes, and a network that answers as a perfect one would.

Given all coarser codes, the cells of a scale are independent in a tree, also given known leaves. So drawing them at
once is no error, and what `ScaleModel` draws must be exact samples of p(hidden | known): all that could be wrong is how
known cells are treated.
"""

from itertools import product

import numpy as np
import pytest
import torch
from cmrgz_ar_var.model import ScaleModel
from cmrgz_ar_var.network import Sight
from numpy.typing import NDArray
from torch import Tensor, nn

from cmrgz.rng import Streams
from cmrgz.testing.oracles import frequencies, total_variation, variation_bound
from cmrgz.tokens.network import Logits

from .conftest import SmallPyramid

GRID = (4, 4)
DRAWS = 8000
Floats = NDArray[np.float64]
# Pictures of 2 x 2 pixels. Those of the finer scales have mean zero, so pooling finds each code; and the sum of a pixel
# of the root and one of the middle is the same for several pairs, so a known leaf does not tell which.
ROOTS = [[0.4, 0.4, -0.4, 0.4], [0.4, -0.4, -0.4, 0.4], [-0.4, 0.4, 0.4, 0.4]]
MIDDLES = [[0.4, -0.4, 0.4, -0.4], [-0.4, 0.4, -0.4, 0.4], [0.4, -0.4, -0.4, 0.4]]
LEAVES = [[0.1, -0.1, 0.1, -0.1], [-0.1, 0.1, 0.1, -0.1]]


def child(index: int, side: int) -> tuple[int, int]:
    """Return (parent, corner) of a cell of a grid with `side` columns; corners are row by row."""
    row, column = divmod(index, side)
    return (row // 2) * (side // 2) + column // 2, (row % 2) * 2 + column % 2


class Tree:
    """p(root), p(middle | root) of 4, p(leaf | middle, root) of 16, and their posteriors given some leaf patches."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.root = rng.dirichlet([2.0] * 3)
        self.middle = rng.dirichlet([0.7] * 3, (4, 3))  # (middle, root, code)
        self.leaf = rng.dirichlet([0.7] * 2, (16, 3, 3))  # (leaf, root, middle, code)
        self.tokenizer = SmallPyramid((4, 2, 1), [torch.tensor([b]) for b in (ROOTS, MIDDLES, LEAVES)], smooth=False)

    def agree(self, leaf: int, patch: Floats) -> Floats:
        """Return p(a leaf is the given patch | root, middle): (root, middle)."""
        parent, corner = child(leaf, 4)
        place = child(parent, 2)[1]
        result = np.zeros((3, 3))
        for r, m, code in product(range(3), range(3), range(2)):
            shown = ROOTS[r][place] + MIDDLES[m][corner] + np.array(LEAVES[code])
            result[r, m] += self.leaf[leaf, r, m, code] * bool(np.abs(shown - patch).max() < 0.01)
        return result

    def upward(self, patches: dict[int, Floats]) -> tuple[Floats, Floats]:
        """Return p(root | known leaves) (root,) and p(middle | root, known leaves) (middle, root, code)."""
        weight = self.middle.copy()
        for leaf, patch in patches.items():
            weight[child(leaf, 4)[0]] *= self.agree(leaf, patch)
        share = weight.sum(-1)
        root = self.root * share.prod(0)
        return root / root.sum(), weight / np.where(share > 0, share, 1)[..., None]

    def sample(self, rng: np.random.Generator) -> Tensor:
        """Return an item (1, 1, 8, 8)."""
        r = rng.choice(3, p=self.root)
        middles = [rng.choice(3, p=self.middle[m, r]) for m in range(4)]
        leaves = [rng.choice(2, p=self.leaf[i, r, middles[child(i, 4)[0]]]) for i in range(16)]
        parts = [torch.tensor(codes).view(1, side, side, 1) for codes, side in ((r, 1), (middles, 2), (leaves, 4))]
        cells = [self.tokenizer.spread(self.tokenizer.cells(codes, scale), scale) for scale, codes in enumerate(parts)]
        return self.tokenizer.decode(torch.stack(cells).sum(0))


class OracleNetwork(nn.Module):
    """Features are log p(code of a cell | coarser codes, known leaves); a blind one does not look at the evidence."""

    def __init__(self, tree: Tree, blind: bool = False) -> None:
        super().__init__()
        self.tree, self.blind, self.weight = tree, blind, nn.Parameter(torch.zeros(1))

    def start(self, evidence: Sight, condition: object, places: object) -> tuple[Floats, Floats]:
        """Return the tables of the items, which are all the same."""
        del condition, places
        known = (evidence.shares[0, :, 0] == 1).tolist()
        fill = evidence.fill[0].double().numpy()
        return self.tree.upward({i: fill[i] for i in range(16) if known[i] and not self.blind})

    def forward(self, tables: tuple[Floats, Floats], scale: int, sight: Sight) -> Tensor:
        """Return log-probabilities (b, cells, 3)."""
        root, middle = tables
        if scale == 0:
            return self._log(np.broadcast_to(root, (len(sight.drawn), 1, 3)))
        if scale == 1:  # only the root is drawn: each cell shows one of its pixels
            pixels = sight.drawn.mean(-1)
            return self._log(middle[:, torch.cdist(pixels, torch.tensor(ROOTS)).argmin(1)].transpose(1, 0, 2))
        vectors = sight.drawn.transpose(1, 2).unflatten(2, GRID)
        codes = [part.flatten(1).numpy() for part in self.tree.tokenizer.code(vectors).codes]
        parents = codes[1][:, [child(i, 4)[0] for i in range(16)]]
        return self._log(np.pad(self.tree.leaf[np.arange(16), codes[0], parents], ((0, 0), (0, 0), (0, 1))))

    @staticmethod
    def _log(share: Floats) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(share)).clamp(min=1e-30).log().float()

    def frozen_head(self, scale: int) -> Logits:
        """Return what reads the log-probabilities."""
        return lambda states, codes, level: states[..., : self.tree.tokenizer.vocab[scale]]


def oracle(tree: Tree, blind: bool = False) -> ScaleModel:
    return ScaleModel(OracleNetwork(tree, blind), tree.tokenizer, 1.0).eval()  # type: ignore[arg-type]


def patches_of(x: Tensor, at: list[int], tree: Tree) -> dict[int, Floats]:
    vectors = tree.tokenizer.encode(x)[0].flatten(1).T
    return {i: vectors[i].double().numpy() for i in at}


def drawn_codes(tree: Tree, x: Tensor, known: Tensor, blind: bool = False) -> tuple[NDArray[np.int64], Tensor]:
    """Return the root and middles (draws, 5) that were drawn, and the items."""
    b = DRAWS
    model = oracle(tree, blind)
    rng = Streams(0, [(i,) for i in range(b)])
    coded = model.draw_codes(x.expand(b, -1, -1, -1), known.expand(b, -1, -1, -1), None, rng)
    codes = torch.cat([coded.codes[0].flatten(1), coded.codes[1].flatten(1)], 1)
    return codes.numpy(), model.tokenizer.decode(coded.sums[-1])


def posterior(tree: Tree, patches: dict[int, Floats]) -> Floats:
    """Return p(root, four middles | known leaves), listed: (3,) * 5."""
    root, middle = tree.upward(patches)
    table = np.zeros((3,) * 5)
    for r in range(3):
        one = root[r]
        for m in product(range(3), repeat=4):
            table[(r, *m)] = one * np.prod([middle[i, r, m[i]] for i in range(4)])
    return table


MASKS = {
    "nothing": [],
    "one leaf": [5],
    "scattered": [0, 6, 11],
    "an area": [0, 1, 4, 5],
    "an area and a leaf": [2, 3, 6, 7, 12],
    "all but one": list(range(15)),
}


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree()


def known_at(at: list[int]) -> Tensor:
    positions = torch.zeros(16, dtype=torch.bool)
    positions[at] = True
    return positions.view(1, 1, *GRID).repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.mark.parametrize("mask", MASKS)
def test_coarse_codes_are_exact_draws_given_known_leaves(tree: Tree, mask: str) -> None:
    rng = np.random.default_rng(1)
    x, at = tree.sample(rng), MASKS[mask]
    exact = posterior(tree, patches_of(x, at, tree))
    known = known_at(at)
    codes, items = drawn_codes(tree, x, known)
    seen = known.expand_as(items)
    torch.testing.assert_close(items[seen], x.expand_as(items)[seen])  # forced codes add up, whatever was drawn
    distance = total_variation(frequencies(codes, (3,) * 5), exact)
    assert distance <= variation_bound(exact, DRAWS, rng)


def test_hidden_leaves_are_exact_draws_too(tree: Tree) -> None:
    """Given known siblings: p(leaf | known) by summing over root and middle."""
    x, at, rng = tree.sample(np.random.default_rng(1)), MASKS["scattered"], np.random.default_rng(2)
    root, middle = tree.upward(patches_of(x, at, tree))
    _, items = drawn_codes(tree, x, known_at(at))
    coded = tree.tokenizer.code(tree.tokenizer.encode(items)).codes[2].flatten(1).numpy()
    for leaf in (1, 10, 15):
        parent = child(leaf, 4)[0]
        exact = np.einsum("r,rm,rmc->c", root, middle[parent], tree.leaf[leaf])
        bound = variation_bound(exact, DRAWS, rng)
        assert total_variation(frequencies(coded[:, [leaf]], (2,)), exact) <= bound


def test_forcing_alone_is_not_enough(tree: Tree) -> None:
    """The test has power: coarse codes that do not look at what is known are not those of the posterior."""
    rng = np.random.default_rng(1)
    x, at = tree.sample(rng), MASKS["an area and a leaf"]
    exact = posterior(tree, patches_of(x, at, tree))
    codes, _ = drawn_codes(tree, x, known_at(at), blind=True)
    assert total_variation(frequencies(codes, (3,) * 5), exact) > 2 * variation_bound(exact, DRAWS, rng)


def test_the_toy_is_coded_as_it_was_drawn(tree: Tree) -> None:
    """Codes are found again, and a known leaf leaves several roots open."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = tree.sample(rng)
        torch.testing.assert_close(tree.tokenizer.reconstruct(x), x)
    root, _ = tree.upward(patches_of(x, [5], tree))
    assert (root > 0.01).sum() > 1
