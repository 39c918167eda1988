"""What the pages in `cmrgz/docs` say is what the code does, and every link of every Markdown file leads somewhere."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from PIL import Image

from cmrgz import errors
from cmrgz.cli import main, process
from cmrgz.cli.commands import app
from cmrgz.data import masks
from cmrgz.data.importers.layouts import LAYOUTS
from cmrgz.data.importers.manifest import COLUMNS
from cmrgz.data.mask_patterns import PATTERNS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "cmrgz" / "docs"
README = (ROOT / "README.md").read_text().splitlines()
PICTURE = 150_000
"""Most bytes of a picture: a checkout and a page stay small."""


def rows(name: str, after: str = "") -> list[list[str]]:
    """Return the cells of the tables of a page, without their heads, below a heading."""
    text = (DOCS / name).read_text().partition(after)[2] if after else (DOCS / name).read_text()
    tables = re.findall(r"^\|[-| ]+\|\n((?:^\|.*\|\n?)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for table in tables for line in table.splitlines()]


def codes(cell: str) -> list[str]:
    """Return what a cell has as code."""
    return re.findall(r"`([^`]+)`", cell)


# ---------------------------------------------------------------------- links
def anchors(path: Path) -> set[str]:
    """Return the anchors of a Markdown file's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def dead(path: Path, root: Path = ROOT) -> Iterator[str]:
    """Return the links of a Markdown file that lead to no file below `root`, or to no heading of it."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        place = path.parent / target if target else path
        if link.startswith(("http://", "https://")):
            continue
        if not (place.exists() and place.resolve().is_relative_to(root.resolve())):
            yield link
        elif anchor and anchor not in anchors(place):
            yield link


def test_every_link_leads_somewhere(tracked: list[Path]) -> None:
    pages = [path for path in tracked if path.suffix == ".md"]
    assert len(pages) > 20
    assert {path.relative_to(ROOT).as_posix(): found for path in pages if (found := list(dead(path)))} == {}


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    links = "[a](b.md) [b](#one-two) [c](#three) [d](a.md#one-two) [e](https://x.org) [f](../a.md) `[g](h)`"
    (tmp_path / "in").mkdir()
    for folder in (tmp_path, tmp_path / "in"):
        (folder / "a.md").write_text(f"# One, two\n{links}\n")
    assert list(dead(tmp_path / "in" / "a.md", tmp_path / "in")) == ["b.md", "#three", "../a.md"]


def test_every_page_is_in_the_index() -> None:
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "README.md").read_text())) == {
        path.name for path in DOCS.glob("*.md") if path.name != "README.md"
    }


def test_every_file_that_a_page_names_is_there() -> None:
    for page in (ROOT / "README.md", *DOCS.glob("*.md")):
        for word in re.findall(r"`((?:examples|cmrgz|plugins|\.ci)/[\w./-]+)`", page.read_text()):
            assert (ROOT / word).exists(), (page.name, word)


def test_the_pictures_are_small() -> None:
    pictures = list(DOCS.glob("*.png"))
    assert pictures and all(path.stat().st_size < PICTURE for path in pictures)
    with Image.open(DOCS / "first-scan.png") as image:
        assert image.format == "PNG" and image.width == 800


def test_a_package_holds_no_page() -> None:
    """Pages link to what no package has, and no command prints them."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "cmrgz.docs*" in found["packages"]["find"]["exclude"]
    assert not any(glob.endswith((".md", ".png", "*")) and "weights" not in glob
                   for globs in found["package-data"].values() for glob in globs)  # fmt: skip


# ---------------------------------------------------------------------- what the code does
def test_the_masks_are_those_of_the_code() -> None:
    named = [code for cell, *_ in rows("masks.md") for code in codes(cell)]
    assert {masks.parse(text).pattern for text in named} == set(PATTERNS)
    for first, says in rows("masks.md"):
        base = codes(first)[0]
        for text in set(codes(says)) - {"bottom", "top", "left", "right"}:  # of half, which has one of them already
            masks.parse(text if ":" in text else f"{base}{',' if ':' in base else ':'}{text}")


def test_the_metrics_are_those_of_the_code(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CMRGZ_LPIPS", raising=False)
    assert main(["metrics", "--json"]) == 0
    told = [(m["name"], m["better"], m["unit"] or "-", str(m["least"])) for m in json.loads(capsys.readouterr().out)]
    found = [(*codes(name), better, unit, least) for name, better, unit, least, _ in rows("metrics.md")]
    assert found == told
    assert all(row[-1] for row in rows("metrics.md"))


def test_the_exit_codes_are_those_of_the_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CmrgzError)]
    coded = {kind.exit_code for kind in kinds} | {0, process.INTERRUPTED, process.STOPPED, 128 + 15}
    named = [int(row[0]) for row in rows("exit-codes-and-environment.md") if row[0].isdigit()]
    assert named == sorted(coded)


def read_variables(tree: ast.Module) -> Iterator[str]:
    """Return the environment variables that a module reads: any text `CMRGZ_X`, and others where they are read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and re.fullmatch("CMRGZ_[A-Z_]+", str(node.value)):
            yield node.value
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("environ.get"):
            yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def test_the_environment_variables_are_those_that_the_code_reads(tracked: list[Path]) -> None:
    code = [path for path in tracked if path.suffix == ".py" and "tests" not in path.parts]
    code = [path for path in code if path.relative_to(ROOT).parts[0] in ("cmrgz", "plugins")]
    texts = [text for path in code if "environ" in (text := path.read_text()) or "CMRGZ_" in text]
    read = {name for text in texts for name in read_variables(ast.parse(text))}
    page = (DOCS / "exit-codes-and-environment.md").read_text().partition("## Environment variables")[2]
    assert set(re.findall(r"`([A-Z][A-Z_]+)`", page)) - {"DEBUG", "INFO", "WARNING", "ERROR"} == read


def test_the_options_are_those_of_the_commands() -> None:
    root = typer.main.get_command(app)
    names = {page: [option for row in rows(f"{page}.md") for option in re.findall(r"`(--[a-z-]+)", row[0])]
             for page in ("commands", "training")}  # fmt: skip
    commands = {"commands": ("inpaint", "generate"), "training": ("train",)}
    for page, options in names.items():
        there = {
            name
            for command in commands[page]
            for parameter in root.commands[command].params  # type: ignore[attr-defined]  # a group
            for name in parameter.opts
        }
        assert len(options) > 5 and set(options) <= there, set(options) - there


def test_the_layouts_are_those_of_the_code() -> None:
    named = [(row[0], *codes(row[1])) for row in rows("data.md", "known by name") if row[0][0] != "`"]
    assert named[:-1] == [(layout.name, layout.what) for layout in LAYOUTS[:-1]]


def test_the_columns_of_a_manifest_are_those_of_the_code() -> None:
    columns = [name for cell, _ in rows("data.md", "## A manifest") for name in codes(cell)]
    assert sorted(columns) == sorted(COLUMNS)


# ---------------------------------------------------------------------- figures
FRAMES = {"ar-maskgit": "ar-maskgit", "ar-mar": "ar-mar", "ar-var": "ar-var", "ldm-dit": "", "flow-dit": ""}
"""Models of frames, and which plugin's README has their table; else that of the kit for denoisers."""


def measured() -> dict[str, list[str]]:
    """Return the table of an unseen patient: mask -> four fills, `ldm-unet`, energy, `ar-vq`, energy."""
    text = (
        (ROOT / "examples" / "README.md").read_text().partition("## Neighbours used")[2].partition("\n\nThe second")[0]
    )
    found = re.findall(r"^\| (`.+?)\|(.+)\|$", text, re.MULTILINE)
    return {mask.strip(): [cell.split("(")[0].strip() for cell in cells.split("|")] for mask, cells in found}


def of_frames(model: str) -> list[str]:
    """Return what a model of frames and the harmonic fill have at patch:0.75 and box:0.25, on the patient."""
    plugin = FRAMES[model]
    path = ROOT / "plugins" / plugin / "README.md" if plugin else ROOT / "cmrgz" / "diffusion" / "README.md"
    text = path.read_text().partition("| | patch:0.25 |")[2]
    lines = [next(line for line in text.splitlines() if line.startswith(start)).split("|")[2:]
             for start in (f"| `{model}`, mean of 4", "| harmonic fill")]  # fmt: skip
    own, floor = ([line[at].split()[0] for at in (2, 4)] for line in lines)
    return [f"{mine} ({best})" for mine, best in zip(own, floor, strict=True)]


def test_the_figures_of_blocks_are_those_that_were_measured() -> None:
    there = [row[1:] for row in rows("models.md", "How good") if len(row) == 6]
    assert len(there) == 5 and there == [[max(row[:4], key=float), *row[4:]] for row in measured().values()]


def test_the_readme_has_the_figures_of_the_pages() -> None:
    figures = measured()
    for model, at in (("ldm-unet", 4), ("ar-vq", 6)):
        (line,) = [line for line in README if f"| [`{model}`]" in line]
        cells = [cell.strip() for cell in line.split("|")[2:7]]
        assert cells[:4] == [f"{row[at]} ({max(row[:4], key=float)})" for row in list(figures.values())[:4]]
        energies = sorted((row[at + 1] for row in figures.values()), key=float)
        assert cells[4] == f"{energies[0]} to {energies[-1]}"
    for model in FRAMES:
        (line,) = [line for line in README if f"| [`{model}`]" in line]
        (page,) = [row for row in rows("models.md", "The models of frames") if row[0] == f"`{model}`" and len(row) == 4]
        assert [cell.strip(" *") for cell in line.split("|")[2:4]] == page[1:3] == of_frames(model)


def test_the_sizes_are_those_of_the_plugins() -> None:
    sizes = {row[0]: row[4] for row in rows("models.md", "What do they cost") if len(row) == 5}
    for model, size in sizes.items():
        plugin = "ldm-dit" if "dit" in model else model.strip("`")
        assert size in (ROOT / "plugins" / plugin / "README.md").read_text(), model
        (line,) = [line for line in README if f"| [{model}]" in line]
        assert line.split("|")[8].strip() == size
