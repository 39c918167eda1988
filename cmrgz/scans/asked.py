"""What is asked of the scans that are drawn: `--condition name=value`, the same of all or spread over them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from cmrgz import options
from cmrgz.errors import UsageError
from cmrgz.meta import Meta
from cmrgz.options import Option, Range
from cmrgz.vocabulary import NAMES, NUMBERS, Value, Vocabulary, number_of

WHERE = "option --condition"
SHARES = {"phase": Range(0, 1), "slice": Range(0, 1)}
"""Conditions that are shares: of the cardiac cycle, and of the way from base to apex."""
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)


@dataclass(frozen=True)
class Spread:
    """A condition that differs from scan to scan, in turn or between two numbers.

    Scan n has what stands at place n of a Halton sequence (Halton 1960, doi:10.1007/BF01386213), one of another base
    for each condition: any number of scans is evenly spread, together in all conditions, and scan n is asked the same
    however many there are.

    Attributes:
        values: The values that are taken in turn, or the two ends.
        base: A prime.
    """

    values: tuple[Value, ...]
    base: int

    def of(self, n: int) -> Value:
        """Return the value of scan n, from 0."""
        # From 1 on: place 0 of every base is 0, so that scan 0 would have the lowest of all conditions.
        share = _radical_inverse(n + 1, self.base)
        low, high = self.values[0], self.values[-1]
        if isinstance(low, str) or isinstance(high, str):
            return self.values[int(share * len(self.values))]
        return low + (high - low) * share


@dataclass(frozen=True)
class Asked:
    """What is asked for.

    Attributes:
        values: Condition -> a value of all scans, or a spread over them.
        vocabulary: Of the model.
    """

    values: Mapping[str, Value | Spread] = field(default_factory=dict)
    vocabulary: Vocabulary = field(default_factory=dict)

    def of(self, n: int) -> dict[str, Value]:
        """Return what is asked of scan n, from 0."""
        return {name: value.of(n) if isinstance(value, Spread) else value for name, value in self.values.items()}

    def told(self, first: int, number: int) -> dict[str, float | tuple[float, ...]]:
        """Return what the network is told of `number` scans from `first` on: one number of all, or one of each."""
        return {
            name: tuple(self._number(name, value.of(n)) for n in range(first, first + number))
            if isinstance(value, Spread)
            else self._number(name, value)
            for name, value in self.values.items()
        }

    def _number(self, name: str, value: Value) -> float:
        return number_of(self.vocabulary, name, value)


def parse(assignments: Iterable[str], frames: Sequence[str], meta: Meta, spread: bool = False) -> Asked:
    """Read `name=value`, and with `spread` also `name=low..high` and `name=value,value`.

    Args:
        assignments: As they were given.
        frames: Conditions of frames that the model takes.
        meta: Of the model: what it may be told of patients.
        spread: Whether scans may be asked different things.

    Raises:
        UsageError: `unknown-key` for a condition that the model does not know; `range`, `type` or `usage` for a value.
    """
    assignments, names = list(assignments), [*frames, *meta.conditions]
    for name in (text.partition("=")[0] for text in assignments if "=" in text):
        if name not in names:
            raise _unknown(name, names, meta)
    texts = options.parse(assignments, {name: Option(name, str, None) for name in names}, WHERE)
    # By name and kind, not as they were given: the same conditions have the same bases in any order.
    order = sorted(texts, key=lambda name: (name in NUMBERS or name in frames, name))  # words, evenest with few scans
    bases = iter(PRIMES)
    values = {name: _read(name, texts[name], meta, next(bases) if spread else None) for name in order}
    return Asked({name: values[name] for name in texts}, meta.conditions)


def _unknown(name: str, names: Sequence[str], meta: Meta) -> UsageError:
    facts = f"it knows {', '.join(names) or 'none'}"
    hint = _nearest(name, names)
    # A condition of patients can be taught to any model; one of frames is a matter of its architecture.
    if name in NAMES:
        hint = f"train one that does: cmrgz train {meta.name} DATA --set conditions={name}"
    return UsageError("unknown-key", WHERE, f"'{meta.name}' does not know '{name}'", facts, hint)


def _read(name: str, text: str, meta: Meta, base: int | None) -> Value | Spread:
    """Return a value or, with a base, values that are spread over scans."""
    if name in meta.conditions and name not in NUMBERS:
        return _words(name, text, meta.conditions[name], base)
    # A number must follow the two dots: `.5...7` is from .5 to .7.
    ends = re.split(r"\.\.(?=[-+.\d])", text) if base is not None else [text]
    if len(ends) != 2 or base is None:
        return _number(name, text)
    low, high = (_number(name, end) for end in ends)
    if low >= high:
        raise UsageError("range", WHERE, f"'{name}' is spread from the lower to the higher", f"got {text[:40]}")
    return Spread((low, high), base)


def _words(name: str, text: str, values: Sequence[str], base: int | None) -> str | Spread:
    # A value of a vocabulary may have a comma in it.
    parts = [text] if base is None or text in values else text.split(",")
    for part in parts:
        if part not in values:
            facts = f"it has {', '.join(values)}"
            raise UsageError("range", WHERE, f"'{name}' has no value '{part[:40]}'", facts, _nearest(part, values))
    if len(parts) == 1 or base is None:
        return parts[0]
    return Spread(tuple(parts), base)


def _nearest(name: str, names: Sequence[str]) -> str:
    """Return a hint that names what is spelt much the same, in capitals or not."""
    plain = {other.casefold(): other for other in names}
    near = get_close_matches(name.casefold(), plain, 1)
    return f"did you mean '{plain[near[0]]}'?" if near else ""


def _number(name: str, text: str) -> float:
    limits = Range(NUMBERS[name].low, NUMBERS[name].high) if name in NUMBERS else SHARES.get(name)
    value: float = options.parse([f"{name}={text}"], {name: Option(name, float, None, "", limits)}, WHERE)[name]
    return value


def _radical_inverse(n: int, base: int) -> float:
    """Return the digits of n in a base, mirrored at the point: evenly spread in [0, 1)."""
    result, scale = 0.0, 1.0
    while n:
        n, digit = divmod(n, base)
        scale /= base
        result += digit * scale
    return result
