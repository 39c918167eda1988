"""What a report is made of: sections of blocks, plain data that the templates of HTML and Markdown both write down."""

from typing import Literal, NamedTuple

from markupsafe import Markup

Tone = Literal["", "good", "bad", "warn"]


class Cell(NamedTuple):
    """A cell of a table: its text, a smaller second line (an interval), whether it is marked as best, its colour."""

    text: str
    note: str = ""
    best: bool = False
    tone: Tone = ""


class Column(NamedTuple):
    """The head of a column: its name, a second line (unit, which values are good), whether its cells are words."""

    name: str
    note: str = ""
    words: bool = False


Row = tuple[Cell, ...] | str
"""Cells, or the heading of the rows that follow."""


class Table(NamedTuple):
    """A table; its first column names the rows, its note says how to read it, and a folded one opens on demand."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    folded: bool = False


class Text(NamedTuple):
    """A paragraph a line, a list, or with `code` lines as they are."""

    lines: tuple[str, ...]
    code: bool = False
    listed: bool = False


class Alert(NamedTuple):
    """A box that is seen first: what is wrong, the details, and how wrong."""

    title: str
    lines: tuple[str, ...]
    tone: Tone = "bad"


class Card(NamedTuple):
    """A statement with a verdict, its effect with the interval (or ""), and why."""

    name: str
    title: str
    verdict: str
    tone: Tone
    value: str
    text: str


class Cards(NamedTuple):
    """Statements side by side."""

    cards: tuple[Card, ...]


class Key(NamedTuple):
    """An entry of a legend: a name, and the colour, sign and CSS line style that stand for it in the panels."""

    name: str
    colour: str
    sign: str
    line: str


class Panel(NamedTuple):
    """A picture of a figure: what sets it apart, an `<svg>` element, and what it shows in words."""

    title: str
    # drawn by us from numbers: the one thing in a page that is not escaped
    svg: Markup
    alt: str


class Figure(NamedTuple):
    """Panels that are read together, with how to read them and a legend; a folded one opens on demand."""

    title: str
    caption: str
    panels: tuple[Panel, ...]
    legend: tuple[Key, ...] = ()
    folded: bool = False


class Strip(NamedTuple):
    """Pictures under one label: each what it shows, in words, and a PNG."""

    label: str
    images: tuple[tuple[str, bytes], ...]


class Gallery(NamedTuple):
    """Pictures of one frame, strips one below the other.

    A folded one opens on demand; `link` is where its frame is in the viewer, or "".
    """

    title: str
    strips: tuple[Strip, ...]
    folded: bool = False
    link: str = ""


Block = Text | Alert | Cards | Table | Figure | Gallery


class Section(NamedTuple):
    """A part of the report: its anchor, its heading, and what stands in it."""

    name: str
    title: str
    blocks: tuple[Block, ...]


class Document(NamedTuple):
    """A report: its title, what was run in one sentence, what must be seen first, and the rest."""

    title: str
    lead: str
    head: tuple[Block, ...]
    sections: tuple[Section, ...]
