"""How much memory this process has held at most."""

import sys

try:
    import resource
except ImportError:  # not POSIX
    resource = None  # type: ignore[assignment]


def most_bytes() -> int | None:
    """Return the most bytes that the process has held so far; None where the system does not tell."""
    try:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    except AttributeError:
        return None
    return most if sys.platform == "darwin" else most * 1024  # KiB elsewhere
