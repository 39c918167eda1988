"""What the known pixels say of every cell: a smooth continuation, in blocks that in all axes and how sure it is.

The frames of blocks are told one after another, (f, ...) with f = b t z: all scales lie in the plane.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from cmrgz.features import SHARES
from cmrgz.hints import LEAST, Hint, Hints, block_hint, places
from cmrgz.latents import known_positions, smooth_fill
from cmrgz.model import Condition
from cmrgz.pieces import piece
from cmrgz.tokens.prior import flat, frames_of
from cmrgz.tokens.scales import ScaleTokenizer


class Places(NamedTuple):
    """Time in cycles and height in mm of the frames of blocks, (b, t, z)."""

    time: Tensor
    height: Tensor


@dataclass(frozen=True)
class Evidence:
    """What is known of frames, or of the frames of blocks.

    Attributes:
        fill: (f, channels, h, w) vectors of a smooth continuation of the known pixels.
        given: (f, h, w) bool, the known positions.
        sure: (f, channels + SHARES, h, w) of blocks: logarithm of the scale of the hints over the spread of the data,
            and their shares.
        variance: (f, h, w) of blocks: mean square of what the truth usually is about the fill; 0 where given.
        hint: Of blocks.
        places: Of the frames of blocks.
    """

    fill: Tensor
    given: Tensor
    sure: Tensor | None = None
    variance: Tensor | None = None
    hint: Hint | None = None
    places: Places | None = None


def frame_evidence(tokenizer: ScaleTokenizer, x: Tensor, known: Tensor) -> Evidence:
    """Return what is known of frames (b, 1, H, W); hidden pixels are not used."""
    return Evidence(tokenizer.encode(piece(smooth_fill)(x, known)), known_positions(known, tokenizer.patch))


def block_evidence(
    hints: Hints, tokenizer: ScaleTokenizer, x: Tensor, known: Tensor, condition: Condition | None, iterations: int
) -> Evidence:
    """Return what is known of blocks (b, 1, t, z, H, W); hidden pixels are not used."""
    hint = block_hint(hints, tokenizer, x, known, condition, iterations)
    given = frames_of(known_positions(known, tokenizer.patch)[:, None])[:, 0]
    scale, near = frames_of(hint.scale), frames_of(hint.shares)
    # What is known is certain, whatever the fit says of such a position.
    relative = torch.where(given[:, None], LEAST, scale / hints.spread[:, None, None])
    # One number for all channels: it is pooled over cells, whose own axes each have a gain, see `ScalePrior`.
    variance = torch.where(given, 0.0, scale.square().mean(1))
    sure = torch.cat([relative.log(), near], 1)
    return Evidence(frames_of(hint.mean), given, sure, variance, hint, Places(*places(condition, x)))


def shares(evidence: Evidence, stride: int) -> Tensor:
    """Return how much is known (f, n, k) of cells, around them and everywhere; of blocks also `Evidence.sure`."""
    share = F.avg_pool2d(evidence.given[:, None].to(evidence.fill.dtype), stride)
    near = F.avg_pool2d(share, 3, 1, 1, count_include_pad=False)
    parts = [share, near, share.mean((2, 3), keepdim=True).expand_as(share)]
    if evidence.sure is not None:
        parts.append(F.avg_pool2d(evidence.sure, stride))
    return flat(torch.cat(parts, 1))


def share_count(channels: int, blocks: bool) -> int:
    """Return how many numbers `shares` tells of a cell."""
    return 3 + channels + SHARES if blocks else 3
