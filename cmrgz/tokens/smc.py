"""Sequential Monte Carlo: particles in raster order, weighted by the known codes that come later."""

from typing import Any

import torch
from torch import Tensor

from cmrgz.model import Progress
from cmrgz.rng import Streams, systematic
from cmrgz.sending import sent
from cmrgz.tokens.causal_decoding import Given, take
from cmrgz.tokens.drawer import Drawer
from cmrgz.tokens.network import CausalNetwork


def smc(
    network: CausalNetwork[Any],
    given: Given,
    codes: Tensor,
    particles: int,
    draw: Drawer,
    rng: Streams,
    progress: Progress | None = None,
) -> Tensor:
    """Draw `particles` for each item in its order, let the known codes weigh them, and return one of them.

    Resampled by systematic resampling where the effective number falls below half (Doucet and Johansen 2011). Exact for
    many particles; evidence that comes long after a hole comes too late, when all of them have one ancestor there. The
    known codes weigh by the model itself, whatever temperature and truncation are. Calls the network on b * particles.

    Args:
        network: Gives features of positions from the vectors of others.
        given: What is known, and the order.
        codes: (b, n, levels) by position; used where known.
        particles: k of an item.
        draw: Draws codes of b * k items.
        rng: For resampling and for the choice at the end.
        progress: Told the positions done.
    """
    many, (b, n, _), k = given.spread(particles), given.vectors.shape, particles
    evidence, prefix = codes.repeat_interleave(k, 0), many.prefix
    result, cache = many.vectors.clone(), many.start(network)
    weight, u = given.vectors.new_zeros(b, k), sent(rng.uniform(n + 1), given.vectors.device)
    first = int(prefix.min())
    for slot in range(first, n):
        position, active = many.order[:, slot : slot + 1], slot >= prefix
        states = network(cache, position, torch.full_like(prefix, slot))
        own = many.known.gather(1, position)
        # All levels of the known codes count, though fewer may be drawn.
        proof = draw.log_prob(states, take(evidence, position), position)
        weight = weight + torch.where(own & active[:, None], proof, 0.0).view(b, k)
        # A known position is given as it is, unquantised, to all particles; its codes only weigh them.
        new = torch.where(own[..., None], take(many.vectors, position), draw(states, position))
        # An item whose known start is longer has this slot from the prefill: what was made here is dropped.
        network.extend(cache, new, position, torch.where(active, slot, n)[:, None])
        result.scatter_(1, position[..., None].expand_as(new), new)
        share = weight.softmax(1)
        few = 1 / share.square().sum(1, keepdim=True) < k / 2
        if bool(few.any()):
            # Items that need no resampling keep their particles, though the batch is rearranged together.
            parents = torch.where(few, systematic(share, u[:, slot : slot + 1]), torch.arange(k, device=u.device))
            rows = (parents + k * torch.arange(b, device=u.device)[:, None]).flatten()
            network.select(cache, rows)
            # After resampling the particles themselves stand for their weights.
            result, weight = result[rows], torch.where(few, 0.0, weight)
        if progress is not None:
            progress(slot - first + 1, n - first)
    chosen = (weight.softmax(1).cumsum(1) < u[:, -1:]).sum(1).clamp(max=k - 1)
    return result.view(b, k, n, -1)[torch.arange(b, device=u.device), chosen]
