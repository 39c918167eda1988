"""Numbers, names, styles, figures and pictures of a report."""

import io
import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from PIL import Image

from cmrgz.evaluation.report import Pictures
from cmrgz.evaluation.report.document import (
    Alert,
    Block,
    Card,
    Cards,
    Cell,
    Document,
    Figure,
    Gallery,
    Key,
    Panel,
    Section,
    Strip,
    Text,
)
from cmrgz.evaluation.report.figures.curves import _paint, figures, line
from cmrgz.evaluation.report.figures.spectrum import curve, spectra
from cmrgz.evaluation.report.figures.styles import GREY, styles
from cmrgz.evaluation.report.names import hidden, mask_label, patterns
from cmrgz.evaluation.report.numerals import DASH, count, interval, level, number, share
from cmrgz.evaluation.report.pages import html, markdown
from cmrgz.evaluation.report.pictures import galleries, shown_masks
from cmrgz.evaluation.report.tables.build import numbers, table, words
from cmrgz.evaluation.report.tables.details import contrasts
from cmrgz.evaluation.report.tables.results import presets
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import MaskRow

Make = Callable[..., Summary]
Draw = Callable[..., Pictures]
NAN = math.nan


@pytest.mark.parametrize(
    ("value", "text"),
    [(24.137, "24.1"), (0.81249, "0.812"), (-0.0123, "−0.0123"), (1234.5, "1,230"), (240965.0, "241,000"),
     (0.0, "0"), (NAN, DASH),
     (math.inf, DASH), (99.95, "100.0"), (3.2e-7, "3.20e−7"), (1.46e7, "1.46e7"), (-0.0, "0")],
)  # fmt: skip
def test_a_number_has_three_digits(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(1e-4, 1e5))
def test_a_number_is_near_what_it_stands_for(value: float) -> None:
    assert math.isclose(float(number(value).replace(",", "").replace("−", "-")), value, rel_tol=5.1e-3)


def test_an_interval_stands_to_the_place_of_its_number() -> None:
    assert interval(24.137, 23.2, 25.04) == ("24.1", "[23.2, 25.0]")
    assert interval(0.0001, -0.5, 0.5) == ("0", "[−0.500, 0.500]")
    assert interval(0.5, NAN, NAN) == ("0.500", "")
    assert interval(NAN, 0, 1) == (DASH, "")


def test_shares_levels_and_counts() -> None:
    assert (share(0.25), share(0.125), share(NAN)) == ("25\u00a0%", "12.5\u00a0%", DASH)
    assert (share(0.0), share(1e-6), share(1 - 1e-6)) == ("0\u00a0%", "<\u00a00.1\u00a0%", ">\u00a099.9\u00a0%")
    assert (level(0.0001), level(0.0421), level(NAN)) == ("< 0.001", "0.042", DASH)
    assert (count(50.0), count(1234.0), count(2.5), count(NAN)) == ("50", "1,234", "2.50", DASH)


def mask(spec: str, pattern: str, ratio: float, hid: float = 0.3) -> MaskRow:
    return MaskRow(spec=spec, pattern=pattern, ratio=ratio, hidden=hid)


def test_the_pattern_with_most_ratios_comes_first_and_one_without_has_what_it_hid() -> None:
    heart = mask("heart", "heart", NAN, 0.12)
    rows = (heart, mask("patch:0.75", "patch", 0.75), mask("patch:0.25", "patch", 0.25))
    assert [(p, [m.spec for m in own]) for p, own in patterns(rows)] == [
        ("patch", ["patch:0.25", "patch:0.75"]),
        ("heart", ["heart"]),
    ]
    assert hidden(heart) == 0.12 and mask_label(heart) == "heart, 12\u00a0% hidden"


def test_models_look_different_and_the_same_everywhere(make: Make) -> None:
    many, few = make(models=14), make(models=2, others=1)
    looks = styles(many)
    models = [looks[m.name] for m in many.methods if m.kind == "model"]
    assert len({(s.colour, s.marker, s.dash) for s in models}) == 14 and GREY not in {s.colour for s in models}
    others = [looks[m.name] for m in many.methods if m.kind not in ("model", "real")]
    assert {s.colour for s in others} == {GREY} and len({s.marker for s in others}) == len(others)
    assert all(styles(few)[m.name] == looks[m.name] for m in few.methods if m.kind == "model")
    assert "real" not in looks


def test_a_curve_goes_from_one_sample_to_the_mean(full: Summary) -> None:
    own = curve(full, "ar-vq", "patch:0.5", "segmenter")
    averages, errors, distances = zip(*own, strict=True)
    assert averages == (1, 2, 4)
    assert list(errors) == sorted(errors, reverse=True) and list(distances) == sorted(distances)
    first = full.estimate("ar-vq", "patch:0.5", "mse-hole-average-1")
    assert first is not None and errors[0] == math.sqrt(first.value)
    assert [point.average for point in curve(full, "mean", "patch:0.5", "segmenter")] == [1]
    assert curve(full, "ar-vq", "patch:0.5", "no such") == []


def test_the_spectrum_has_a_panel_a_ratio_and_a_figure_an_extractor(make: Make) -> None:
    summary = make(models=2, others=2, patterns=2, ratios=(0.0, 0.5, 1.0))
    found = spectra(summary)
    assert [figure.folded for figure in found] == [False, True, True]
    assert [panel.title for panel in found[0].panels] == ["50\u00a0% hidden", "100\u00a0% hidden"]
    assert [key.name for key in found[0].legend][:2] == ["ar-vq", "ar-vq:preset=paper_like"]
    assert found[0].legend[-1].name == "real against real"
    assert not spectra(replace(summary, sets=()))


def test_distances_far_above_the_floor_get_a_logarithmic_scale_with_short_labels(make: Make) -> None:
    summary = make(models=1, others=1, patterns=1, ratios=(0.5,))
    far = replace(summary, sets=tuple(replace(row, value=row.value * 1e5) for row in summary.sets))
    (near,), (panel,) = spectra(summary)[0].panels, spectra(far)[0].panels
    assert "10^{5}" in panel.svg and ">100000<" not in panel.svg and ">0</tspan>" in panel.svg
    assert "10^{5}" not in near.svg


def test_curves_leave_out_what_is_not_defined(make: Make) -> None:
    summary = make(models=2, others=3, patterns=2, ratios=(0.25, 0.75))
    assert line(summary, "mean", "energy-hole", summary.masks) == []
    assert [x for x, _ in line(summary, "mean", "psnr-hole", summary.masks[:2])] == [0.25, 0.75]
    first, second = figures(summary, "quality")
    assert (first.folded, second.folded) == (False, True)
    assert [panel.title for panel in first.panels][:1] == ["PSNR, hole (dB ↑)"]
    assert "currentColor" in first.panels[0].svg and "#000000" not in first.panels[0].svg
    assert not figures(replace(summary, estimates=()), "quality")


@pytest.mark.parametrize("factor", [1.05, 3.0, 40.0, 1e5])
def test_a_logarithmic_scale_has_a_few_round_ticks(make: Make, factor: float) -> None:
    summary = make(models=2, others=0, patterns=1, ratios=(0.25, 0.75))
    values = {"patch:0.25": 0.3, "patch:0.75": 0.3 * factor}
    rows = tuple(replace(e, value=values[e.mask], low=NAN, high=NAN) for e in summary.estimates if e.metric == "kappa")
    (figure,) = figures(replace(summary, estimates=rows), "calibration")
    texts = re.findall(r">([\d.e+-]+)</text>", figure.panels[0].svg)
    ticks = [float(text) for text in texts if text not in ("25", "75")]
    assert 3 <= len(ticks) <= 12 and len(set(ticks)) == len(ticks) and min(ticks) > 0


@pytest.mark.parametrize("ratios", [(0.5,), (0.25, 0.75)])
def test_a_panel_shows_models_whole_and_is_no_higher_for_a_fill_that_is_far_worse(
    make: Make, ratios: tuple[float, ...]
) -> None:
    from matplotlib.figure import Figure as Drawing

    summary = make(models=2, others=2, patterns=1, ratios=ratios)
    rows = tuple(replace(e, value=-900.0) if e.method == "mean" else e for e in summary.estimates)
    looks, told = styles(summary), replace(summary, estimates=rows)
    lines = {name: line(told, name, "psnr-hole", told.masks) for name in looks}
    axes = Drawing().add_subplot()
    _paint(axes, lines, looks, "psnr-hole")
    low, high = axes.get_ylim()
    own = [e for name in ("ar-vq", "ar-vq:preset=paper_like") for _, e in lines[name]]
    assert 0 < low < min(e.low for e in own) and max(e.high for e in own) < high


def test_counts_that_are_all_zero_have_no_scale_below_zero(make: Make) -> None:
    summary = make(models=2, others=2, patterns=1, ratios=(0.25, 0.75))
    rows = tuple(replace(e, value=0.0, low=0.0, high=0.0) for e in summary.estimates if e.metric == "psnr-hole")
    (figure,) = figures(replace(summary, estimates=rows), "quality")
    assert "−" not in figure.panels[0].svg


def test_what_says_nothing_is_left_out_of_a_table() -> None:
    fields = [words("Method", lambda row: row[0]), numbers("a", lambda row: row[1]), numbers("b", lambda row: DASH)]
    groups = [("Models", [("x", "1"), ("y", DASH)]), ("Bounds", [("z", DASH)])]
    (kept,) = table("half", groups, fields)
    assert [c.name for c in kept.columns] == ["Method", "a"] and kept.rows == ("Models", (Cell("x"), Cell("1")))
    assert table("none", groups[1:], fields) == () == table("no rows", [("Models", [])], fields)
    assert written(kept).splitlines()[-4:] == ["| Method | a |", "| :-- | --: |", "| **Models** |  |", "| x | 1 |"]


def written(*blocks: Block) -> str:
    return markdown(Document("title", "lead", (), (Section("s", "section", blocks),)))


def test_a_hostile_text_is_nothing_but_text_wherever_it_stands() -> None:
    bad = """<b onclick='x'>*a*</b>" onload="x {{ 7 * 7 }} |`\n# head"""
    (own,) = table(bad, [(bad, [bad])], [words(bad, str), words(bad, lambda text: Cell(text, text, tone="bad"))], bad)
    figure = Figure(bad, bad, (Panel(bad, Markup("<svg></svg>"), bad),), (Key(bad, "red", "●", "solid"),))
    cards, gallery = Cards((Card(bad, bad, bad, "good", bad, bad),)), Gallery(bad, (Strip(bad, ((bad, b""),)),))
    listed, code = Text((bad,), listed=True), Text((bad,), code=True)
    blocks = (own, figure, cards, gallery, listed, code, Text((bad,)), Alert(bad, (bad,)))
    page = html(Document(bad, bad, blocks, (Section("name", bad, blocks),)))
    assert "<b onclick" not in page and '" onload="' not in page and "49" not in page
    assert page.count("&lt;b onclick=&#39;x&#39;&gt;") == 5 + 2 * 25  # title, heading, lead, link, section
    lines = written(own, figure, cards, gallery, Text((bad,)), Alert(bad, (bad,))).splitlines()
    hit = [line for line in lines if "onclick" in line]
    assert len(hit) == 10 and not [line for line in hit if re.search(r"(?<!\\)[<`]", line)]
    assert not [line for line in lines if line.startswith("# head")]


def test_contrasts_that_are_left_out_are_counted(make: Make) -> None:
    summary = make(models=14, others=0, patterns=1, ratios=(0.5,))
    (found,) = contrasts(summary)
    shown = [row for row in found.rows if not isinstance(row, str)]
    assert len(shown) == 60 and len(summary.contrasts) == 2 * 91
    assert f"The {2 * 91 - 60} pairs" in found.note
    assert shown[0][2].text == "0.004" and shown[0][1].best


def test_presets_are_paired_by_their_other_options(make: Make) -> None:
    summary = make(models=2, others=0, patterns=1, ratios=(0.5,))
    (found,) = presets(summary)
    assert [row if isinstance(row, str) else row[0].text for row in found.rows][1:] == [
        "ar-vq",
        "ar-vq:preset=paper_like",
    ]
    alone = replace(summary, methods=summary.methods[1:])
    assert not presets(alone)


def test_pictures_show_what_was_hidden_and_what_was_drawn(make: Make, draw: Draw) -> None:
    summary = make(models=2, others=2, patterns=1, ratios=(0.0, 0.5, 0.9, 1.0))
    pictures = draw(summary)
    assert [m.spec for m in shown_masks(summary, pictures)] == ["patch:0.5", "patch:0.9", "patch:1"]
    first, second, *_ = galleries(summary, pictures)
    assert (first.folded, second.folded) == (False, True)
    assert [s.label for s in first.strips] == ["What was given", "ar-vq", "ar-vq:preset=paper_like"]
    truth, hole = (np.asarray(Image.open(io.BytesIO(png))) for _, png in first.strips[0].images)
    layers = pictures["ar-vq", "patch:0.5"]["frame0"]
    assert (truth == layers[0]).all()
    known = layers[1] > 0
    assert (hole[known] == layers[0][known][:, None]).all() and (hole[~known] == (200, 90, 30)).all()
    assert [what for what, _ in first.strips[1].images] == ["sample", "other sample", "mean of all", "spread"]


def test_a_method_without_chance_shows_one_result(make: Make, draw: Draw) -> None:
    summary = make(models=0, others=2, patterns=1, ratios=(0.5,))
    (first, *_) = galleries(summary, draw(summary))
    assert [what for what, _ in first.strips[1].images] == ["result"]
    assert galleries(summary, {}) == ()
