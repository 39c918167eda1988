"""A document as Markdown: the same words and tables; figures and pictures stand in the HTML alone."""

import re

from cmrgz.evaluation.report.document import Alert, Block, Cards, Cell, Document, Figure, Gallery, Row, Table, Text

FIGURES = "Figures and pictures are in report.html."
SIGNS = {"good": "✓", "bad": "✗", "warn": "?", "": "·"}


def page(document: Document) -> str:
    """Return the Markdown of a document."""
    parts = [f"# {plain(document.title)}", plain(document.lead), *map(block, document.head), FIGURES]
    for section in document.sections:
        blocks = [text for text in map(block, section.blocks) if text]
        parts += [f"## {plain(section.title)}", *blocks]
    return "\n\n".join(parts) + "\n"


def block(of: Block) -> str:
    """Return a block."""
    match of:
        case Text():
            return text(of)
        case Alert():
            return "\n".join([f"> **{plain(of.title)}**", ">", *(f"> - {plain(line)}" for line in of.lines)])
        case Cards():
            return "\n".join(
                f"- {SIGNS[c.tone]} **{plain(c.name)}, {plain(c.verdict)}**: {plain(c.title)}"
                f"{f' {plain(c.value)}.' if c.value else ''} {plain(c.text)}"
                for c in of.cards
            )
        case Table():
            return table(of)
        case Figure():
            return f"*Figure: {plain(of.title)}.* {plain(of.caption)}"
        case Gallery():
            return ""


def text(of: Text) -> str:
    """Return a paragraph, a list or lines as they are."""
    if of.code:
        return "\n".join(f"    {line}" for line in of.lines)
    start = "- " if of.listed else ""
    return "\n".join(start + plain(line) for line in of.lines)


def table(of: Table) -> str:
    """Return a table; headings within it are rows of one bold cell."""
    n = len(of.columns)
    heads = [plain(f"{c.name} ({c.note})" if c.note else c.name) for c in of.columns]
    lines = [_line(heads), _line([":--" if c.words else "--:" for c in of.columns]), *(row(r, n) for r in of.rows)]
    note = f"\n\n{plain(of.note)}" if of.note else ""
    return f"### {plain(of.title)}\n\n" + "\n".join(lines) + note


def row(of: Row, columns: int) -> str:
    """Return a row."""
    if isinstance(of, str):
        return _line([f"**{plain(of)}**", *[""] * (columns - 1)])
    return _line([cell(c) for c in of])


def cell(of: Cell) -> str:
    """Return a cell."""
    value = f"**{plain(of.text)}**" if of.best else plain(of.text)
    return f"{value} {plain(of.note)}" if of.note else value


def plain(text: str) -> str:
    """Return text in which nothing is markup."""
    return re.sub(r"([\\`*_<>|#]|(?<=\])\()", r"\\\1", " ".join(text.split()))


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
