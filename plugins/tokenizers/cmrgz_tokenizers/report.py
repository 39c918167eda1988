"""Figures of merit of a tokenizer."""

import torch
from torch import Tensor


def psnr(y: Tensor, x: Tensor) -> float:
    """Return the mean over images of the PSNR in dB of y against x (b, 1, H, W) in [-1, 1], capped at 80 dB."""
    # Halved: PSNR is told of the range [0, 1].
    error = ((y.clamp(-1, 1) - x) / 2).square().flatten(1).mean(1)
    return float((-10 * error.clamp(min=1e-8).log10()).mean())


def code_use(codes: Tensor, vocab: int) -> tuple[float, float]:
    """Return (share of the codes in use, perplexity) of the codes (...) of one level."""
    share = torch.bincount(codes.flatten(), minlength=vocab).float()
    share = share / share.sum()
    entropy = -(share * share.clamp(min=1e-12).log()).sum()
    return float((share > 0).float().mean()), float(entropy.exp())
