"""A document as one HTML file: no script, no request, and everything from outside escaped."""

import base64
from html import escape
from importlib.resources import files

from cmrgz.evaluation.report.document import (
    Alert,
    Block,
    Card,
    Cards,
    Cell,
    Column,
    Document,
    Figure,
    Gallery,
    Panel,
    Row,
    Section,
    Strip,
    Table,
    Text,
)

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may load: nothing; styles and pictures stand in the file."""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="lead">{lead}</p>
{head}
</header>
<nav aria-label="Contents"><ul>
{contents}
</ul></nav>
<main>
{main}
</main>
</body>
</html>
"""


def page(document: Document) -> str:
    """Return the HTML of a document."""
    contents = "\n".join(f'<li><a href="#{s.name}">{escape(s.title)}</a></li>' for s in document.sections)
    return _PAGE.format(
        policy=POLICY,
        title=escape(document.title),
        style=files(__package__).joinpath("style.css").read_text("utf-8"),
        lead=escape(document.lead),
        head="\n".join(map(block, document.head)),
        contents=contents,
        main="\n".join(map(section, document.sections)),
    )


def section(of: Section) -> str:
    """Return a section."""
    return (
        f'<section id="{of.name}">\n<h2>{escape(of.title)}</h2>\n' + "\n".join(map(block, of.blocks)) + "\n</section>"
    )


def block(of: Block) -> str:
    """Return a block."""
    match of:
        case Text():
            return text(of)
        case Alert():
            lines = "".join(f"<li>{escape(line)}</li>" for line in of.lines)
            return (
                f'<div class="alert {of.tone}" role="alert"><strong>{escape(of.title)}</strong><ul>{lines}</ul></div>'
            )
        case Cards():
            return '<div class="cards">' + "".join(map(card, of.cards)) + "</div>"
        case Table():
            return folding(of.title, table(of), of.folded, "table")
        case Figure():
            return folding(of.title, figure(of), of.folded, "figure")
        case Gallery():
            viewer = f'<p><a href="{escape(of.link)}">Open in the viewer</a></p>' if of.link else ""
            return folding(of.title, "".join(map(strip, of.strips)) + viewer, of.folded, "gallery")


def folding(title: str, body: str, folded: bool, kind: str) -> str:
    """Return a titled part that can be closed."""
    opened = "" if folded else " open"
    return f'<details class="{kind}"{opened}><summary>{escape(title)}</summary>\n{body}\n</details>'


def text(of: Text) -> str:
    """Return a paragraph, a list or lines as they are."""
    lines = [escape(line) for line in of.lines]
    if of.code:
        return "<pre>" + "\n".join(lines) + "</pre>"
    if of.listed:
        return "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"
    return "".join(f"<p>{line}</p>" for line in lines)


def card(of: Card) -> str:
    """Return a statement with its verdict."""
    value = f'<p class="value">{escape(of.value)}</p>' if of.value else ""
    badge = f'<span class="badge {of.tone}">{escape(of.verdict)}</span>'
    return (
        f'<article class="card"><p class="top"><b>{escape(of.name)}</b> {badge}</p><p>{escape(of.title)}</p>'
        f'{value}<p class="why">{escape(of.text)}</p></article>'
    )


def table(of: Table) -> str:
    """Return a table that scrolls by itself where it is wider than the page."""
    heads = "".join(map(head, of.columns))
    rows = "\n".join(row(each, of.columns) for each in of.rows)
    note = f'<p class="note">{escape(of.note)}</p>' if of.note else ""
    body = f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>"
    return f'<div class="scroll" tabindex="0"><table>{body}</table></div>{note}'


def head(of: Column) -> str:
    """Return the head of a column."""
    note = f"<small>{escape(of.note)}</small>" if of.note else ""
    kind = ' class="words"' if of.words else ""
    return f'<th scope="col"{kind}>{escape(of.name)}{note}</th>'


def row(of: Row, columns: tuple[Column, ...]) -> str:
    """Return a row, or a heading across the table."""
    if isinstance(of, str):
        return f'<tr class="group"><th scope="rowgroup" colspan="{len(columns)}">{escape(of)}</th></tr>'
    first, *rest = of
    cells = "".join(cell(c, column) for c, column in zip(rest, columns[1:], strict=True))
    return f'<tr><th scope="row">{wrappable(first.text)}</th>{cells}</tr>'


def cell(of: Cell, column: Column) -> str:
    """Return a cell."""
    body = f"<b>{escape(of.text)}</b>" if of.best else escape(of.text)
    body = f'<span class="badge {of.tone}">{body}</span>' if of.tone else body
    note = f"<small>{escape(of.note)}</small>" if of.note else ""
    kinds = " ".join([*(["words"] if column.words else []), *(["best"] if of.best else [])])
    return f'<td class="{kinds}">{body}{note}</td>' if kinds else f"<td>{body}{note}</td>"


def wrappable(name: str) -> str:
    """Return a name that may be broken after the marks that methods have in theirs."""
    return escape(name).replace(":", ":<wbr>").replace(",", ",<wbr>").replace("=", "=<wbr>").replace("_", "_<wbr>")


def figure(of: Figure) -> str:
    """Return panels with their legend above and how to read them below."""
    keys = "".join(f"<li>{key.swatch}<span>{wrappable(key.name)}</span></li>" for key in of.legend)
    legend = f'<ul class="legend">{keys}</ul>' if keys else ""
    return f'{legend}<div class="panels">{"".join(map(panel, of.panels))}</div><p class="note">{escape(of.caption)}</p>'


def panel(of: Panel) -> str:
    """Return a panel."""
    svg = of.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(of.alt)}" ', 1)
    return f"<figure><figcaption>{escape(of.title)}</figcaption>{svg}</figure>"


def strip(of: Strip) -> str:
    """Return pictures in a row."""
    images = "".join(image(f"{of.label} {what}".strip(), what, png) for what, png in of.images)
    label = f"<h4>{wrappable(of.label)}</h4>" if of.label else ""
    return f'<div class="strip">{label}<div class="images">{images}</div></div>'


def image(alt: str, caption: str, png: bytes) -> str:
    """Return a picture."""
    data = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{escape(alt)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
