"""How a network is told what is known of an item beside its pixels."""

import math

import torch
from torch import Tensor, nn

from cmrgz.errors import UsageError
from cmrgz.model import Condition
from cmrgz.vocabulary import NUMBERS, Vocabulary

PERIODIC = ("phase",)
"""Conditions that are a share of a cycle: 0 and 1 are the same."""


class ConditionEmbedding(nn.Module):
    """The sum of one embedding per condition; an unknown value (NaN, or a missing name) has an embedding of its own.

    The names are those of frames. Those of patients are added by `learn`, whatever the network.
    """

    def __init__(self, names: tuple[str, ...], width: int, frequencies: int = 4) -> None:
        super().__init__()
        self.names, self.frequencies = names, frequencies
        self.known = nn.ModuleList([nn.Linear(2 * frequencies, width) for _ in names])
        self.unknown = nn.Parameter(torch.zeros(len(names), width))
        self.patient = nn.ModuleDict()

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
            # NaN is taken out before the layer: in a branch that `where` drops it would still make the gradient NaN.
            embedded = layer(self._waves(name, value.nan_to_num()))
            total = total + torch.where(value.isnan()[..., None], unknown, embedded)
        for name, told in self.patient.items():
            value = (condition or {}).get(name)
            # A condition that is not told is unknown, as NaN is, so that both have the same embedding.
            value = total.new_full((batch,), math.nan) if value is None else value.to(total)
            total = total + told(_fitted(name, value, frames))
        return total

    def learn(self, vocabulary: Vocabulary) -> None:
        """Take conditions of patients too; see `learn`."""
        width = self.unknown.shape[1]
        for name, values in vocabulary.items():
            if name in NUMBERS:
                if name not in self.patient:
                    self.patient[name] = NumberEmbedding(width, self.frequencies, NUMBERS[name].usual)
            elif name in self.patient:
                self.patient[name].grow(len(values))  # type: ignore[operator]  # it is one of words
            else:
                self.patient[name] = WordEmbedding(width, len(values))
        # A model may be on its device before a vocabulary is learned.
        self.patient.to(self.unknown.device)

    def _waves(self, name: str, value: Tensor) -> Tensor:
        """Return sines and cosines (..., 2 * frequencies) of values (...)."""
        # Of what is no cycle a quarter of the longest wave, or its two ends would look alike.
        return waves(value, self.frequencies, 2 * math.pi if name in PERIODIC else math.pi / 2)


class WordEmbedding(nn.Module):
    """An embedding of each value of a word, and one of an unknown value; all zero at first.

    Args:
        width: Features of an embedding.
        count: Number of values.
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.rows, self.unknown = nn.Parameter(torch.zeros(count, width)), nn.Parameter(torch.zeros(width))

    def forward(self, value: Tensor) -> Tensor:
        """Return embeddings (..., width) of the numbers (...) of values, NaN where unknown."""
        # a product, since the gradient of a lookup is summed in any order on a GPU
        chosen = value[..., None] == torch.arange(len(self.rows), device=value.device)
        return torch.where(value.isnan()[..., None], self.unknown, chosen.to(self.rows) @ self.rows)

    def grow(self, count: int) -> None:
        """Have at least so many values; new ones start as an unknown one."""
        new = self.unknown.detach().expand(max(0, count - len(self.rows)), -1)
        self.rows = nn.Parameter(torch.cat([self.rows.detach(), new]))


class NumberEmbedding(nn.Module):
    """A linear layer on waves of a number, and an embedding of an unknown one; all zero at first.

    Args:
        width: Features of an embedding.
        frequencies: Of the waves.
        usual: A value whose longest wave is at its quarter.
    """

    def __init__(self, width: int, frequencies: int, usual: float) -> None:
        super().__init__()
        self.frequencies, self.usual = frequencies, usual
        self.weight = nn.Parameter(torch.zeros(width, 2 * frequencies))
        self.bias, self.unknown = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))

    def forward(self, value: Tensor) -> Tensor:
        """Return embeddings (..., width) of numbers (...), NaN where unknown."""
        told = waves(value.nan_to_num() / self.usual, self.frequencies, math.pi / 2)
        embedded = nn.functional.linear(told, self.weight, self.bias)
        return torch.where(value.isnan()[..., None], self.unknown, embedded)


def waves(value: Tensor, frequencies: int, base: float) -> Tensor:
    """Return sines and cosines (..., 2 * frequencies) of values (...), the longest wave of angle `base` at 1."""
    angle = value[..., None] * base * torch.arange(1, frequencies + 1, device=value.device)
    return torch.cat([angle.sin(), angle.cos()], -1)


def learn(module: nn.Module, vocabulary: Vocabulary) -> None:
    """Let a model take conditions of patients, in all embeddings of conditions that it has.

    What is added is zero: until it is trained the model draws what it drew before, to the bit, whatever it is told. A
    vocabulary that it has may be extended: further values of a word start as an unknown one.

    Raises:
        UsageError: `usage`: the model has no such embedding.
    """
    embeddings = [part for part in module.modules() if isinstance(part, ConditionEmbedding)]
    if vocabulary and not embeddings:
        raise UsageError("usage", "option conditions", "this model cannot be told anything of a patient")
    for embedding in embeddings:
        embedding.learn(vocabulary)


def _fitted(name: str, value: Tensor, frames: tuple[int, ...]) -> Tensor:
    """Return a value of items, (b,), or of their frames, (b, *frames), so that it broadcasts over the frames."""
    if value.shape[1:] == frames:
        return value
    if value.ndim != 1:
        raise ValueError(f"condition {name} has the shape {tuple(value.shape)}, expected (b,) or (b, *{frames})")
    return value.view(-1, *[1] * len(frames))
