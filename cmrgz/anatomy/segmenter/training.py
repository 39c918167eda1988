"""Training the segmenter: own labels, or those of phantoms."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cmrgz.anatomy.segmenter.labelled import Labelled, batch
from cmrgz.anatomy.segmenter.network import CLASSES, SegmentationUNet

SMOOTH = 50.0
"""Pixels added to both sides of a Dice, so that classes that hardly occur do not decide it."""


def train(
    sources: Sequence[Sequence[Labelled]],
    steps: int,
    shares: Sequence[float] = (),
    seed: int = 0,
    size: int = 16,
    rate: float = 2e-3,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> SegmentationUNet:
    """Return a network trained on labelled frames.

    Args:
        sources: The frames of each data set.
        steps: Of the optimiser: AdamW, the rate rising for a tenth of them and then falling to 0.
        shares: Weight of each data set; equal if empty.
        seed: Of the first weights and of everything drawn.
        size: Frames a step.
        rate: The highest learning rate.
        report: Called with each step and its loss.
    """
    rng, weights = np.random.default_rng(seed), np.array(shares or [1.0] * len(sources))
    with torch.random.fork_rng(devices=[]):  # the caller's streams stay as they are
        torch.manual_seed(seed)
        network = SegmentationUNet().train()
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        x, bits = batch(sources, weights / weights.sum(), size, rng)
        value = loss(network(x), bits)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        report(step, value.item())
    return network.eval()


def loss(logits: Tensor, bits: Tensor) -> Tensor:
    """Return the loss of logits (n, 4, h, w) given the classes that each pixel may have (n, h, w), as bits.

    Cross entropy of the union of the possible classes, plus 1 - Dice of each class over the pixels that are known to
    have it or not (Milletari et al. 2016, arXiv:1606.04797; partial labels: Shi et al. 2021, arXiv:2007.03868).
    """
    may = (bits[:, None] >> torch.arange(CLASSES).reshape(1, -1, 1, 1)) & 1 == 1
    likely = F.log_softmax(logits, 1)
    # A pixel that may have several classes is as likely as all of them: what nobody drew is not held against it.
    entropy = -likely.masked_fill(~may, -torch.inf).logsumexp(1).mean()
    is_class = may & (may.sum(1, keepdim=True) == 1)
    p = likely.exp() * (is_class | ~may)
    axes = (0, 2, 3)
    dice = (2 * (p * is_class).sum(axes) + SMOOTH) / (p.sum(axes) + is_class.sum(axes) + SMOOTH)
    return entropy + (1 - dice).mean()
