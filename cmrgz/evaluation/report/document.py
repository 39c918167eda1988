"""What a report is made of: sections of blocks, plain data that the templates of HTML and Markdown both write down."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from markupsafe import Markup

Tone = Literal["", "good", "bad", "warn"]


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, a smaller second line (an interval), whether it is marked as best, its colour."""

    text: str
    note: str = ""
    best: bool = False
    tone: Tone = ""


@dataclass(frozen=True)
class Column:
    """The head of a column: its name, a second line (unit, which values are good), whether its cells are words."""

    name: str
    note: str = ""
    words: bool = False


Row = tuple[Cell, ...] | str
"""Cells, or the heading of the rows that follow."""


@dataclass(frozen=True)
class Table:
    """A table; its first column names the rows, its note says how to read it, and a folded one opens on demand."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    folded: bool = False
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Text:
    """A paragraph a line, a list, or with `code` lines as they are."""

    lines: tuple[str, ...]
    code: bool = False
    listed: bool = False
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Alert:
    """A box that is seen first: what is wrong, the details, and how wrong."""

    title: str
    lines: tuple[str, ...]
    tone: Tone = "bad"
    kind: ClassVar[str] = "alert"


@dataclass(frozen=True)
class Card:
    """A statement with a verdict, its effect with the interval (or ""), and why."""

    name: str
    title: str
    verdict: str
    tone: Tone
    value: str
    text: str


@dataclass(frozen=True)
class Cards:
    """Statements side by side."""

    cards: tuple[Card, ...]
    kind: ClassVar[str] = "cards"


@dataclass(frozen=True)
class Key:
    """An entry of a legend: a name, and the colour, sign and CSS line style that stand for it in the panels."""

    name: str
    colour: str
    sign: str
    line: str


@dataclass(frozen=True)
class Panel:
    """A picture of a figure: what sets it apart, an `<svg>` element, and what it shows in words."""

    title: str
    svg: Markup
    alt: str


@dataclass(frozen=True)
class Figure:
    """Panels that are read together, with how to read them and a legend; a folded one opens on demand."""

    title: str
    caption: str
    panels: tuple[Panel, ...]
    legend: tuple[Key, ...] = ()
    folded: bool = False
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Strip:
    """Pictures under one label: each what it shows, in words, and a PNG."""

    label: str
    images: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class Gallery:
    """Pictures of one frame, strips one below the other.

    A folded one opens on demand; `link` is where its frame is in the viewer, or "".
    """

    title: str
    strips: tuple[Strip, ...]
    folded: bool = False
    link: str = ""
    kind: ClassVar[str] = "gallery"


Block = Text | Alert | Cards | Table | Figure | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the report: its anchor, its heading, and what stands in it."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A report: its title, what was run in one sentence, what must be seen first, and the rest."""

    title: str
    lead: str
    head: tuple[Block, ...]
    sections: tuple[Section, ...]
