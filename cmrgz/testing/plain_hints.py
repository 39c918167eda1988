"""Hints of blocks of which it is known what they say, so that models on them can be exact."""

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from cmrgz.adaptive import ITERATIONS
from cmrgz.hints import LEAST, MOST, Hint, Hints
from cmrgz.latents import framewise
from cmrgz.model import Condition, Tokenizer
from cmrgz.tokens.codes import CodeModel

M = TypeVar("M", bound=CodeModel)


@torch.no_grad()
def set_scale(hints: Hints, scale: float) -> None:
    """Let unfitted hints tell one scale of everything, between `LEAST` and `MOST`; unset it is 1."""
    # The inverse of `Hints.scale_of`, in double precision: the scale is compared with exact draws.
    share = torch.tensor(math.log(scale / LEAST) / math.log(MOST / LEAST), dtype=torch.float64)
    last = hints.log_scale[-1]
    assert isinstance(last, nn.Linear)
    last.weight.zero_()
    last.bias.fill_(float(share.logit()))


class ReachableHints(Hints):
    """Hints whose fill is one that the tokenizer can hold: it loses nothing that would have to be carried over."""

    def forward(
        self, tokenizer: Tokenizer, x: Tensor, known: Tensor, condition: Condition | None, iterations: int = ITERATIONS
    ) -> Hint:
        """Return the hints of blocks; see `Hints`."""
        hint: Hint = super().forward(tokenizer, x, known, condition, iterations)
        return hint._replace(fill=framewise(lambda frames: tokenizer.decode(tokenizer.encode(frames)), hint.fill))


@torch.no_grad()
def without_prior(model: M) -> M:
    """Return a model of codes whose network alone says what codes are likely, on blocks as on frames."""
    if model.prior is not None:
        # A factor of 0: nothing of the hint is added to the logits.
        model.prior.log_factor.fill_(-math.inf)
        model.prior.shift.zero_()
        # Cells of no width, so that a vector within its cell is that of its code.
        model.prior.rest.zero_()
        model.prior.candidates = 0
        model.prior.hints = ReachableHints(model.tokenizer.channels, model.prior.hints.rotate)
    return model
