"""Examples under the help of a command. A test follows each, so that none goes stale."""


def examples(*told: tuple[str, str]) -> str:
    r"""Return the epilog of a command's help.

    Args:
        told: What an example does, "" where it goes with the one before, and the example.
    """
    lines = [line for what, example in told for line in (*([f"# {what}"] if what else []), example)]
    keep = "\b"  # on a line of its own it keeps the lines that follow from being joined and wrapped
    return "\n".join([keep, "Examples:", *(f"  {line}" for line in lines)])
