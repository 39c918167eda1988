"""The files of a report: what stands in them, and that nothing in them runs, loads or breaks."""

import base64
import csv
import io
import json
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmrgz.evaluation.report import Pictures, write
from cmrgz.evaluation.report.names import main_mask
from cmrgz.evaluation.report.pictures import shown_masks
from cmrgz.evaluation.summary.model import Summary

Make = Callable[..., Summary]
Draw = Callable[..., Pictures]
HOSTILE = "<script>alert('x')</script>"
NAMES = ["report.html", "report.md", "estimates.csv", "sets.csv", "summary.json"]
VOID = {"meta", "img", "br", "wbr", "hr", "input", "link"}
PARTS = ("guide", "claims", "spectrum", "quality", "invented", "calibration", "pictures", "floors", "generation",
         "inpainting", "sets", "contrasts", "presets", "biomarkers", "memory", "cost", "run")  # fmt: skip


class Checked(HTMLParser):
    """Tags that open and close in order; remembers ids, what is referred to, and the text by section."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.text: dict[str, str] = {}
        self.section = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert len(given) == len(attrs), (tag, attrs)
        self.tags.append(tag)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.loads += [given[n] or "" for n in ("src", "srcset", "data", "action") if n in given]
        self.links += [given[n] or "" for n in ("href", "xlink:href") if n in given]
        self.links += re.findall(r"url\(([^)]*)\)", " ".join(v or "" for v in given.values()))
        assert not [name for name in given if name.startswith("on")]
        if tag == "section":
            self.section = given["id"] or ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.open[-3:])

    def handle_data(self, data: str) -> None:
        self.text[self.section] = self.text.get(self.section, "") + data


@pytest.fixture(scope="module")
def root(full: Summary, draw: Draw, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    write(full, draw(full), root)
    return root


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "report.html").read_text()


@pytest.fixture
def small(make: Make) -> Summary:
    return make(models=2, others=3, patterns=1, ratios=(0.5, 1.0))


def body(summary: Summary, pictures: Pictures, root: Path) -> str:
    write(summary, pictures, root)
    return (root / "report.html").read_text()


def test_every_part_is_there_in_its_place(page: str) -> None:
    checked = Checked(page)
    assert tuple(name for name in checked.ids if name in PARTS) == PARTS
    assert [link[1:] for link in checked.links if link[1:] in PARTS] == list(PARTS)
    for text, part in {
        "Error against perception": "spectrum", "10\u00a0% hidden": "spectrum", "HaarPSI": "quality",
        "False edges": "invented", "Truth below all samples": "calibration", "mean of all": "pictures",
        "Real against real": "floors", "round-trip vq": "floors", "real against real": "generation",
        "Holm": "inpainting", "needs 325 items": "sets", "Cliff": "contrasts", "preset=paper_like": "presets",
        "LVEDV": "biomarkers", "MAE 3.30": "biomarkers", "AuthPct": "memory", "0.530[0.410": "memory",
        "Network calls": "cost", "out of memory": "run",
        "cmrgz evaluate report RUN": "run", "refuted": "claims", "0.123 [−0.046, 0.300]": "claims",
    }.items():  # fmt: skip
        assert text in checked.text[part], (text, part)
    assert "not a medical device" in checked.text[""] and "Descriptive only: 8 subjects" in checked.text[""]


def test_every_id_is_one_alone_and_every_reference_has_one(page: str) -> None:
    checked = Checked(page)
    assert len(set(checked.ids)) == len(checked.ids)
    viewer = [link for link in checked.links if link.startswith("pictures.html#")]
    assert {link.removeprefix("#") for link in checked.links} - set(viewer) <= set(checked.ids)
    assert "svg" in checked.tags and len(checked.links) > 100


def test_nothing_runs_and_nothing_is_loaded(page: str) -> None:
    checked = Checked(page)
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(checked.tags)
    assert checked.loads and all(load.startswith("data:image/png;base64,") for load in checked.loads)
    outside = set(re.findall(r"https?://[^\s\"'<>)]+", page))
    assert outside <= {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in page and "@import" not in page


def test_a_hostile_name_is_text_everywhere(page: str, root: Path) -> None:
    assert HOSTILE in Checked(page).text["inpainting"] and "<script" not in page
    lines = (root / "report.md").read_text().splitlines()
    assert not [line for line in lines if "alert" in line and re.search(r"(?<!\\)[<`]", line)]
    start = next(i for i, line in enumerate(lines) if line.startswith("### patch, 50"))
    table = [line for line in lines[start + 2 :][:20] if line.startswith("|")]
    assert [line for line in table if "alert" in line]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {len(table[0].split("|")) - 1}


def test_a_failed_gate_is_seen_first(page: str, make: Make, tmp_path: Path) -> None:
    banner = page.index('class="alert bad"')
    assert banner < page.index("Descriptive only") < page.index('id="claims"')
    assert "depends on hidden pixels" in page[banner : banner + 400]
    good = body(make(models=1, others=0, patterns=1, ratios=(0.5,), failed=False), {}, tmp_path)
    assert 'class="alert bad"' not in good and 'class="alert warn"' in good
    assert "> **A validity gate failed" not in (tmp_path / "report.md").read_text()


def test_equal_input_gives_equal_bytes(small: Summary, draw: Draw, tmp_path: Path) -> None:
    roots = [tmp_path / "a", tmp_path / "b"]
    for root in roots:
        root.mkdir()
        assert [path.name for path in write(small, draw(small), root)] == [*NAMES, "pictures.html"]
    for name in (*NAMES, "pictures.html"):
        assert (roots[0] / name).read_bytes() == (roots[1] / name).read_bytes(), name


def test_the_pictures_are_in_the_viewer(full: Summary, draw: Draw, page: str, root: Path) -> None:
    text = (root / "pictures.html").read_text()
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    told = json.loads(found)
    pictures = draw(full)
    galleries = re.findall(r'href="pictures.html#(\d+)\.(\d+)"', page)
    assert len(galleries) == len(set(galleries)) == page.count('<details class="gallery"') > 1
    assert all(int(t) < told["shape"][0] and int(z) < told["shape"][1] for t, z in galleries)
    assert told["axes"] == ["mask", "frame"] and len(told["steps"][0]) == told["shape"][0]
    names = [layer["name"] for layer in told["layers"]]
    assert names[0] == "scan" and HOSTILE not in text and len(names) > 3
    masks, frame = shown_masks(full, pictures), told["start"][1]
    for at in (at for at, layer in enumerate(told["layers"]) if at and not layer["folded"]):
        for t, mask in enumerate(masks):
            own = pictures[names[at], mask.spec]
            layers = own[sorted(own)[frame]]
            assert np.array_equal(cine(told, at)[t, frame], layers[4]), (names[at], mask)
            assert at > 1 or np.array_equal(cine(told, 0)[t, frame], layers[0])


def cine(told: dict[str, Any], at: int) -> NDArray[np.uint16]:
    """Return the numbers (t, z, rows, columns) of a layer, from 0 on."""
    layer = told["layers"][at]
    low, high = (
        np.frombuffer(zlib.decompress(base64.b64decode(layer["data"])), np.uint8).astype(np.uint16).reshape(2, -1)
    )
    folded = (low | high << 8).reshape(told["shape"])
    apart = np.where(folded % 2 == 1, 65535 - folded // 2, folded // 2).astype(np.uint16)
    return np.cumsum(apart, axis=0, dtype=np.uint16) if layer["base"] is None else apart + cine(told, layer["base"])


def test_a_report_is_replaced(small: Summary, draw: Draw, tmp_path: Path) -> None:
    write(small, draw(small), tmp_path)
    (tmp_path / "report.html").write_text("old")
    write(small, {}, tmp_path)
    assert Checked((tmp_path / "report.html").read_text()).text["pictures"].strip().endswith("No picture was kept.")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


def test_what_is_not_defined_is_a_dash_in_the_page_and_nothing_in_data(small: Summary, tmp_path: Path) -> None:
    page = body(small, {}, tmp_path)
    assert "<td>–</td>" in page and not re.search(r"\bnan\b", page, re.IGNORECASE)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "estimates.csv").read_text())))
    undefined = [row for row in rows if row["metric"] == "dice-lv" and row["method"] == "mean"]
    assert len(rows) == len(small.estimates) and {row["value"] for row in undefined} == {""}
    sets = csv.DictReader(io.StringIO((tmp_path / "sets.csv").read_text()))
    assert all(row["reason"] for row in sets if row["value"] == "")
    assert "NaN" not in (tmp_path / "summary.json").read_text()


def test_all_of_a_summary_is_in_its_json(full: Summary, root: Path) -> None:
    told = json.loads((root / "summary.json").read_text())
    assert list(told) == [field.name for field in fields(Summary)] and told["subjects"] == 8
    assert told["memory"][0]["audit"] == {"ratio": 0.012, "authentic": 93.2, "c_t": None}
    for name in ("estimates", "sets", "contrasts", "claims", "gates"):
        assert (
            len(told[name]) == len(getattr(full, name)) and told[name][0].keys() == vars(getattr(full, name)[0]).keys()
        )


def test_no_path_of_the_data_is_told(page: str, root: Path) -> None:
    assert "DOE_JOHN" not in page + (root / "report.md").read_text()


def test_the_best_and_those_tied_with_it_are_marked(page: str, full: Summary) -> None:
    mask = main_mask(full.masks)
    assert mask is not None and mask.spec == "patch:0.5"
    section = page[page.index('id="inpainting"') :]
    table = section[section.index('<details class="table" open>') :]
    rows = re.findall(r"<tr>(.*?)</tr>", table[: table.index("Baselines")], re.DOTALL)
    assert ['class="best"' in row for row in rows if "<td" in row] == [True, True, *[False] * 6]


@pytest.mark.parametrize(
    ("models", "others", "patterns", "ratios"),
    [(1, 0, 1, (0.7,)), (0, 11, 1, (0.25, 0.75)), (0, 0, 0, ()), (3, 2, 1, (1.0,)), (2, 2, 2, (0.0, 0.5))],
)
def test_little_is_reported_too(
    make: Make, draw: Draw, tmp_path: Path, models: int, others: int, patterns: int, ratios: tuple[float, ...]
) -> None:
    summary = make(models=models, others=others, patterns=patterns, ratios=ratios)
    checked = Checked(body(summary, draw(summary), tmp_path))
    assert tuple(name for name in checked.ids if name in PARTS) == PARTS
    assert all(checked.text[part].strip() for part in PARTS)


def test_nothing_at_all_is_reported_too(tmp_path: Path) -> None:
    checked = Checked(body(Summary(settings={}, cells=0, subjects=0, frames=0), {}, tmp_path))
    assert "No claim was tested" in checked.text["claims"]


@pytest.mark.slow
def test_a_huge_run_is_reported(make: Make, draw: Draw, tmp_path: Path) -> None:
    summary = make(models=14, others=11, patterns=5, ratios=(0.1, 0.25, 0.5, 0.75, 0.9))
    assert (len(summary.methods), len(summary.masks)) == (27, 25)
    page = body(summary, draw(summary), tmp_path)
    Checked(page)
    assert len(page) < 12_000_000


def test_matplotlib_is_imported_for_a_report_alone() -> None:
    code = "import sys, cmrgz.evaluation.report; assert not {'matplotlib', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
