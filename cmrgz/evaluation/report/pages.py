"""A document as one HTML file and as Markdown: a template each, which escapes all that it is given."""

import re
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from cmrgz.evaluation.report.document import Document

SIGNS = {"good": "✓", "bad": "✗", "warn": "?", "": "·"}
"""What stands in Markdown for the colour of a verdict."""


def html(document: Document) -> str:
    """Return one HTML page that runs nothing and loads nothing; the style and the pictures stand in it."""
    environment = _environment()
    environment.filters.update(wrap=_wrap, base64=lambda png: b64encode(png).decode())
    return environment.get_template("report.html.j2").render(document=document)


def markdown(document: Document) -> str:
    """Return the same words and tables as Markdown, without figures and pictures."""
    # autoescape alone would escape for HTML; `finalize` comes before it, and what is Markup is not escaped again
    environment = _environment(lambda value: value if isinstance(value, Markup) else Markup(plain(str(value))))
    environment.globals["signs"] = SIGNS
    return environment.get_template("report.md.j2").render(document=document)


def plain(text: str) -> str:
    """Return text on one line, in which nothing is markup to Markdown."""
    # a bracket is harmless but after ], where it makes a link
    return re.sub(r"([\\`*_<>|#]|(?<=\])\()", r"\\\1", " ".join(text.split()))


def _environment(finalize: Callable[[Any], Any] | None = None) -> Environment:
    environment = Environment(
        # beside the code: the suffixes of package data do not reach into a folder without __init__.py
        loader=PackageLoader(__package__, ""),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,  # a misspelt field must fail, not leave a gap in a page
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["kind"] = lambda block: type(block).__name__.lower()
    return environment


def _wrap(name: str) -> Markup:
    """Return a name that a browser may break after the marks that methods have in theirs, escaped."""
    # after escaping, which leaves none of these marks in what it writes: else a name could bring its own tags
    return Markup(re.sub(r"([:,=_])", r"\1<wbr>", str(escape(name))))
