"""What a report is made of: sections of blocks, as plain data that HTML and Markdown are both written from."""

from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["", "good", "bad", "warn"]


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What stands in it.
        note: A second line, smaller: an interval.
        best: Whether it is marked as best, or tied with it.
        tone: Its colour.
    """

    text: str
    note: str = ""
    best: bool = False
    tone: Tone = ""


@dataclass(frozen=True)
class Column:
    """The head of a column.

    Attributes:
        name: What it is.
        note: A second line: the unit and which values are good.
        words: Whether its cells are words, not numbers.
    """

    name: str
    note: str = ""
    words: bool = False


Row = tuple[Cell, ...] | str
"""Cells, or the heading of the rows that follow."""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: What it shows.
        columns: Their heads; the first one names the rows.
        rows: The rows.
        note: One sentence on how to read it.
        folded: Whether it is closed until it is asked for.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Text:
    """A paragraph, a list or, with `code`, lines as they are."""

    lines: tuple[str, ...]
    code: bool = False
    listed: bool = False


@dataclass(frozen=True)
class Alert:
    """A box that is seen first.

    Attributes:
        title: What is wrong.
        lines: The details.
        tone: How wrong.
    """

    title: str
    lines: tuple[str, ...]
    tone: Tone = "bad"


@dataclass(frozen=True)
class Card:
    """A statement with a verdict.

    Attributes:
        name: Short.
        title: The statement.
        verdict: In one word.
        tone: Of the verdict.
        value: Its number with the interval, or "".
        text: Why.
    """

    name: str
    title: str
    verdict: str
    tone: Tone
    value: str
    text: str


@dataclass(frozen=True)
class Cards:
    """Statements in a row."""

    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Key:
    """An entry of a legend: a name and an SVG that shows its line and marker."""

    name: str
    swatch: str


@dataclass(frozen=True)
class Panel:
    """A picture of a figure.

    Attributes:
        title: What sets it apart from the others.
        svg: An `<svg>` element.
        alt: What it shows, in words.
    """

    title: str
    svg: str
    alt: str


@dataclass(frozen=True)
class Figure:
    """Panels that are read together.

    Attributes:
        title: What it shows.
        caption: One or two sentences on how to read it.
        panels: The panels.
        legend: What the colours and markers are.
        folded: Whether it is closed until it is asked for.
    """

    title: str
    caption: str
    panels: tuple[Panel, ...]
    legend: tuple[Key, ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class Strip:
    """Pictures under one label: each what it shows, in words, and a PNG."""

    label: str
    images: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class Gallery:
    """Pictures of one frame: strips one below the other.

    Attributes:
        title: Which frame.
        strips: The strips.
        folded: Whether it is closed until it is asked for.
        link: Where its frame is in the viewer, or "".
    """

    title: str
    strips: tuple[Strip, ...]
    folded: bool = False
    link: str = ""


Block = Text | Alert | Cards | Table | Figure | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        name: Its anchor.
        title: Its heading.
        blocks: What stands in it.
    """

    name: str
    title: str
    blocks: tuple[Block, ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: Its title.
        lead: What was run, in one sentence.
        head: What must be seen first.
        sections: The rest.
    """

    title: str
    lead: str
    head: tuple[Block, ...]
    sections: tuple[Section, ...]
