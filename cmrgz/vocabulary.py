"""What a model may be told of a patient: which conditions there are, and what each may be. Imports nothing heavy.

A *vocabulary* names the conditions of patients that a model knows, beside those of frames that its spec declares. A
condition is a word, such as `group`, or a number, such as `ef`. Of a word the vocabulary has the values; its place
among them is the number that a network is told. A vocabulary stands in the meta of a checkpoint.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Value = str | float
Vocabulary = Mapping[str, tuple[str, ...]]
"""Condition -> its values; of a condition that is a number none."""


class Number(NamedTuple):
    """Inclusive bounds of a condition that is a number, its unit, and a value that is about 1 to a network."""

    low: float
    high: float
    unit: str
    usual: float

    def __str__(self) -> str:
        return f"{self.low:g} .. {self.high:g} {self.unit}".rstrip()


WORDS = ("group", "sex")
"""Conditions that are words: the diagnosis or the like, and F or M."""
NUMBERS = {"ef": Number(0, 1, "", 1), "edv": Number(1, 1000, "ml", 300)}
"""Conditions that are numbers: ejection fraction and end-diastolic volume of the left ventricle."""
NAMES = (*WORDS, *NUMBERS)
MOST, LONGEST = 64, 40
"""Values of a word, and letters of one: what has more is no group but an identity."""


def is_vocabulary(value: Any) -> bool:
    """Whether a value in JSON's types is a vocabulary."""
    return isinstance(value, dict) and all(_is_entry(name, values) for name, values in value.items())


def _is_entry(name: str, values: Any) -> bool:
    if name in NUMBERS:
        return bool(values == [])
    texts = isinstance(values, list) and all(isinstance(v, str) and 0 < len(v) <= LONGEST for v in values)
    return name in WORDS and texts and 0 < len(values) == len(set(values)) <= MOST


def merged(first: Vocabulary, second: Vocabulary) -> dict[str, tuple[str, ...]]:
    """Return a vocabulary with all of both; the numbers that stand for the values of the first stay."""
    names = dict.fromkeys([*first, *second])
    # In the order of their coming, not sorted: a network knows a word by its number.
    return {name: tuple(dict.fromkeys([*first.get(name, ()), *second.get(name, ())])) for name in names}


def number_of(vocabulary: Vocabulary, name: str, value: Value | None) -> float:
    """Return what a network is told of a condition, NaN for what is not known or not in the vocabulary."""
    values: Sequence[str] = vocabulary.get(name, ())
    if isinstance(value, str):
        return float(values.index(value)) if value in values else math.nan
    return math.nan if value is None else float(value)
