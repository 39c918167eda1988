"""Numbers as a reader wants them: three digits that count, intervals to the same place, a dash for nothing."""

import math

from cmrgz.data.shares import percent

DASH = "–"
# a hyphen is shorter than a digit and a browser may break a line after it
MINUS = "−"
# the interval over some ten patients leaves no meaning to a fourth
DIGITS = 3


def number(value: float) -> str:
    """Return a number with three significant digits; an en dash if it is not finite."""
    return _fixed(value, value) if math.isfinite(value) else DASH


def count(value: float) -> str:
    """Return a number that is whole as it is, another one with three significant digits."""
    if math.isfinite(value) and value == int(value):
        return f"{int(value):,}".replace("-", MINUS)
    return number(value)


def share(value: float) -> str:
    """Return a share as per cent."""
    text = percent(value, 1).replace(".0 ", " ").replace(" ", "\u00a0")
    return text if math.isfinite(value) else DASH


def level(p: float) -> str:
    """Return a p-value."""
    if not math.isfinite(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def interval(value: float, low: float, high: float) -> tuple[str, str]:
    """Return a number and its interval, all to the same place; "" for an interval that there is not."""
    if not math.isfinite(value):
        return DASH, ""
    if not (math.isfinite(low) and math.isfinite(high)):
        return number(value), ""
    # a mean near 0 with a wide interval would be told to digits that the interval denies
    scale = max(abs(value), (high - low) / 2)
    return _fixed(value, scale), f"[{_fixed(low, scale)}, {_fixed(high, scale)}]"


def _fixed(value: float, scale: float) -> str:
    """Return a number to the third digit of `scale`."""
    if scale == 0:
        return "0"
    size = math.floor(math.log10(abs(scale)))
    # zeros beyond that are counted, not read
    if size < -4 or size > 6:
        mantissa, _, exponent = f"{value:.{DIGITS - 1}e}".partition("e")
        return f"{mantissa}e{int(exponent)}".replace("-", MINUS)
    places = DIGITS - 1 - size
    text = f"{round(value, places):,.{max(0, places)}f}"
    # -0.00 would look like a finding
    return "0" if not text.strip("-0.") else text.replace("-", MINUS)
