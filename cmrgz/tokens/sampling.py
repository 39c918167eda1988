"""Drawing a code from logits, with uniform numbers that are given: the same numbers give the same codes."""

import torch
from torch import Tensor


def truncate(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Return logits (..., vocab) with all but the `top_k` best, or the smallest set of share `top_p`, at -inf.

    `top_k` 0 and `top_p` 1 keep all. At least the best one stays.
    """
    if 0 < top_k < logits.shape[-1]:
        bound = logits.topk(top_k, -1).values[..., -1:]
        logits = logits.masked_fill(logits < bound, -torch.inf)
    if top_p < 1:
        ranked, index = logits.sort(-1, descending=True)
        before = ranked.softmax(-1).cumsum(-1) - ranked.softmax(-1)
        dropped = torch.zeros_like(before, dtype=torch.bool).scatter(-1, index, before >= top_p)
        logits = logits.masked_fill(dropped, -torch.inf)
    return logits


def along(books: Tensor) -> Tensor:
    """Return the codes (levels, vocab) in the order in which their vectors (levels, vocab, c) lie on the first axis.

    Of a basis whose first axis carries most: near numbers then give near vectors, opposite numbers opposite ones.
    """
    # Draws of an antithetic pair correlate at -0.31 about their mean in this order, at -0.04 in that of the codes'
    # numbers.
    return books[..., 0].argsort(dim=1, stable=True)


def draw(
    logits: Tensor,
    u: Tensor,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    order: Tensor | None = None,
) -> Tensor:
    """Return codes (...) drawn from logits (..., vocab) by inverting the distribution function at u (...) in [0, 1).

    `temperature` 0 returns the most likely code. The distribution function runs over the codes in an order (vocab,), by
    default that of their numbers: it says which codes near numbers u give, and changes nothing of how often they come.
    """
    if temperature == 0:
        return logits.argmax(-1)
    # A running sum of a thousand shares in bfloat16 would be coarser than most of them.
    logits = logits.float()
    if temperature != 1:  # the largest is 0 first, so that a tiny temperature cannot overflow
        logits = (logits - logits.amax(-1, keepdim=True)) / temperature
    share = truncate(logits, top_k, top_p).softmax(-1)
    share = (share if order is None else share[..., order]).cumsum(-1)
    # The last sum may be a little off 1. `right`: u = 0 draws no code of share 0, such as one that was cut off.
    place = torch.searchsorted(share, u[..., None] * share[..., -1:], right=True)[..., 0].clamp(max=share.shape[-1] - 1)
    return place if order is None else order[place]
