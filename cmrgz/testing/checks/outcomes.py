"""What a check can end with beside success and failure."""


class Skipped(Exception):
    """The check cannot be made here."""


class Shown(Exception):
    """The check has a verdict to show, which is neither good nor bad."""
