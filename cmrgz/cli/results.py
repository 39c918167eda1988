"""Results on stdout: the names of what was written, as they are but for what a terminal would act on."""

import os
from pathlib import Path
from unicodedata import category

import typer

from cmrgz.errors import escape


def tell(path: Path | str) -> None:
    """Print the path of a result on a line of its own; its control characters are made visible.

    A name need not be text: bytes that are none are printed as they are, so that a script finds the file.
    """
    typer.echo(os.fsencode(shown(path)))


def shown(path: Path | str) -> str:
    """Return a path whose control characters are made visible."""
    return "".join(c if _is_harmless(c) else escape(c) for c in str(path))


def _is_harmless(character: str) -> bool:
    return character.isprintable() or category(character) in ("Zs", "Cs")  # a space; a byte that is no text
