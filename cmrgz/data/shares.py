"""Shares in words."""


def percent(share: float, places: int = 0) -> str:
    """Return a share as per cent, rounded; what is hardly there is never said to be nothing, nor most to be all.

    Args:
        share: 0 .. 1.
        places: Digits after the point.
    """
    text, least = f"{100 * share:.{places}f}", 10.0**-places
    if share > 0 and float(text) == 0:
        return f"< {least:g} %"
    return f"> {100 - least:g} %" if share < 1 and float(text) == 100 else f"{text} %"
