"""Which value of a label map means what: data sets differ, and an order that is assumed swaps the ventricles."""

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.errors import UsageError

CLASSES = ("rv", "myo", "lv")
Values = tuple[int, ...]


@dataclass(frozen=True)
class LabelOrder:
    """The values of a label map that mean right ventricle, myocardium and left ventricle; several may mean one.

    In memory they are 1, 2 and 3, as in ACDC.
    """

    rv: Values = (1,)
    myo: Values = (2,)
    lv: Values = (3,)

    @classmethod
    def parse(cls, text: str) -> "LabelOrder":
        """Return what `--labels` says, such as `lv=1,myo=2,rv=3` or `lv=1,myo=2+3+4`; what it leaves out is not drawn.

        Raises:
            UsageError: `range`.
        """
        found: dict[str, Values] = {}
        for part in text.lower().split(","):
            name, _, values = (word.strip() for word in part.partition("="))
            numbers = [value.strip() for value in values.split("+")]
            if name not in CLASSES or name in found or not all(v.isdecimal() and 0 < int(v) < 256 for v in numbers):
                raise _wrong(text)
            found[name] = tuple(map(int, numbers))
        used = [value for values in found.values() for value in values]
        if len(set(used)) < len(used):
            raise _wrong(text)
        return cls(*(found.get(name, ()) for name in CLASSES))

    def __str__(self) -> str:
        pairs = zip(CLASSES, astuple(self), strict=True)
        return ",".join(f"{name}={'+'.join(map(str, values))}" for name, values in pairs if values)

    def apply(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return labels as 1, 2 and 3, 0 where the order names no value."""
        table = np.zeros(256, np.uint8)
        for number, values in enumerate(astuple(self), 1):
            table[list(values)] = number
        return np.asarray(table[labels])

    def unnamed(self, values: NDArray[Any]) -> list[int]:
        """Return those of the values but 0 that the order does not name."""
        named = {0, *self.rv, *self.myo, *self.lv}
        return [int(value) for value in values if int(value) not in named]


def _wrong(text: str) -> UsageError:
    hint = "e.g. lv=1,myo=2,rv=3"
    return UsageError("range", "option --labels", "must say which values are lv, myo and rv", f"got {text}", hint)


ACDC = LabelOrder()
# M&Ms counts the left ventricle 1 and the right one 3, ACDC the other way round.
MNMS = LabelOrder(rv=(3,), myo=(2,), lv=(1,))
