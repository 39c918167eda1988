"""How a network is told what is known of an item beside its pixels."""

import math

import torch
from torch import Tensor, nn

from cmrgz.model import Condition

PERIODIC = ("phase",)
"""Conditions that are a share of a cycle: 0 and 1 are the same."""


class ConditionEmbedding(nn.Module):
    """The sum of one embedding per condition; an unknown value (NaN, or a missing name) has an embedding of its own."""

    def __init__(self, names: tuple[str, ...], width: int, frequencies: int = 4) -> None:
        super().__init__()
        self.names, self.frequencies = names, frequencies
        self.known = nn.ModuleList([nn.Linear(2 * frequencies, width) for _ in names])
        self.unknown = nn.Parameter(torch.zeros(len(names), width))

    def forward(self, condition: Condition | None, batch: int, frames: tuple[int, ...] = ()) -> Tensor:
        """Return embeddings (b, width) of items, or (b, t, z, width) of the frames (t, z) of blocks.

        A value (b,) is that of all frames of an item, a value (b, t, z) that of each.

        Raises:
            ValueError: A value has a shape of neither kind.
        """
        total = self.unknown.new_zeros(batch, *frames, self.unknown.shape[1])
        for name, layer, unknown in zip(self.names, self.known, self.unknown, strict=True):
            value = (condition or {}).get(name)
            if value is None:
                total = total + unknown
                continue
            value = _fitted(name, value.to(total), frames)
            embedded = layer(self._waves(name, value.nan_to_num()))
            total = total + torch.where(value.isnan()[..., None], unknown, embedded)
        return total

    def _waves(self, name: str, value: Tensor) -> Tensor:
        """Return sines and cosines (..., 2 * frequencies) of values (...)."""
        base = 2 * math.pi if name in PERIODIC else math.pi / 2
        angle = value[..., None] * base * torch.arange(1, self.frequencies + 1, device=value.device)
        return torch.cat([angle.sin(), angle.cos()], -1)


def _fitted(name: str, value: Tensor, frames: tuple[int, ...]) -> Tensor:
    """Return a value of items, (b,), or of their frames, (b, *frames), so that it broadcasts over the frames."""
    if value.shape[1:] == frames:
        return value
    if value.ndim != 1:
        raise ValueError(f"condition {name} has the shape {tuple(value.shape)}, expected (b,) or (b, *{frames})")
    return value.view(-1, *[1] * len(frames))
