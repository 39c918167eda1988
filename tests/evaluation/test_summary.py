"""Tables and summaries say what the cells say: intervals over patients, gates, controls that come out as they must."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmrgz.errors import CheckpointError
from cmrgz.evaluation.competitors import Probe
from cmrgz.evaluation.extractors import open_extractor
from cmrgz.evaluation.frames import intensities, read_frames
from cmrgz.evaluation.publish import lines
from cmrgz.evaluation.references import Reference, references
from cmrgz.evaluation.scoring import Scorer
from cmrgz.evaluation.store import read_lines
from cmrgz.evaluation.summary.build import summarise
from cmrgz.evaluation.summary.estimates import contrasts, estimates
from cmrgz.evaluation.summary.gates import gates
from cmrgz.evaluation.summary.memory import probe_rows
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.sweep import Sweep, run
from cmrgz.evaluation.table import MaskInfo, Table

MakeSweep = Callable[..., Sweep]


class Perfect(Reference):
    """Draws the truth, as a model."""

    def __init__(self) -> None:
        super().__init__("perfect", "bound", {}, lambda frames, _: intensities(frames), sees_truth=True)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, frames: Any, bank: Any, noise: Any) -> Table:
    """Return a small run with references, two models of which one is the other under another name, and features."""
    from cmrgz.evaluation.lineup import Lineup
    from cmrgz.evaluation.options import SweepOptions

    root = tmp_path_factory.mktemp("run")
    scorer = Scorer(None, {"radiomics": open_extractor("radiomics")}, frozenset([frames[0].id]))
    methods = [noise("weak", 0.05), noise("strong", 0.3), noise("twin", 0.05), *references([], bank)]
    options = SweepOptions(ratios=(0.5, 1.0), samples=2, seeds=(0, 1))
    run(Sweep(options, Lineup(frames, bank, methods), scorer, batch=4), root)
    return Table.read(root)


@pytest.fixture(scope="module")
def summary(table: Table) -> Summary:
    return summarise(table)


def test_a_patient_is_the_mean_of_frames_and_seeds(table: Table) -> None:
    values = table.by_subject("psnr-hole", "weak", "patch:0.5")
    rows = table.rows("weak", "patch:0.5")
    assert len(rows) == 4 * 2 * 2 and len(values) == 4
    subject = next(iter(values))
    own = [r for r in rows if table.columns["subject"][r] == subject]
    assert values[subject] == pytest.approx(table.metrics["psnr-hole"][own].mean())


def test_a_ratio_is_one_of_means(table: Table) -> None:
    values = table.by_subject("kappa", "weak", "patch:0.5")
    over, under = (table.by_subject(n, "weak", "patch:0.5") for n in ("variance-hole", "error-hole"))
    assert values == {s: pytest.approx(over[s] / under[s]) for s in values}


def test_estimates_hold_their_points_and_know_their_patients(summary: Summary) -> None:
    found = summary.estimate("weak", "patch:0.5", "psnr-hole")
    assert found is not None and found.low < found.value < found.high and found.subjects == 4
    assert summary.estimate("weak", "patch:0.5", "no-metric") is None


def test_a_model_stands_beside_the_best_fill_of_its_patients(table: Table, summary: Summary) -> None:
    found = summary.estimate("weak", "patch:0.5", "psnr-hole")
    fills = [m.name for m in summary.methods if m.kind == "baseline"]
    values = {name: summary.estimate(name, "patch:0.5", "psnr-hole") for name in fills}
    best = max((row for row in values.values() if row is not None), key=lambda row: row.value)
    assert found is not None and found.floor == best.method and found.gain == pytest.approx(found.value - best.value)
    assert found.gain_low <= found.gain <= found.gain_high and not found.beaten
    error = summary.estimate("weak", "patch:0.5", "mse-hole")
    assert error is not None and error.gain < 0, "a gain is an improvement, whichever way the metric goes"
    assert all(not row.floor for row in summary.estimates if row.method != "weak" and row.method in fills)


def test_a_model_below_its_floor_is_told_first(summary: Summary) -> None:
    from cmrgz.evaluation.report.content import document
    from cmrgz.evaluation.report.document import Alert, Table

    shown = document(summary, {})
    (alert,) = [block for block in shown.head if isinstance(block, Alert) and "fill" in block.title]
    assert any("strong against" in line for line in alert.lines)
    gains = next(b for s in shown.sections for b in s.blocks if isinstance(b, Table) and "best floor" in b.title)
    red = [row for row in gains.rows if not isinstance(row, str) and any(cell.tone == "bad" for cell in row)]
    assert {row[0].text for row in red} >= {"weak", "strong"}


def test_a_distance_far_outside_its_range_is_told(table: Table) -> None:
    from cmrgz.evaluation.summary.rows import FAR, SetRow
    from cmrgz.evaluation.summary.sets import Reals, far_apart

    reals = Reals(table, "radiomics")
    assert reals.space.beyond(reals.features) < FAR < reals.space.beyond(reals.features + 1e3 * reals.space.scale)
    near, far = (
        SetRow(method="m", mask="0.5", extractor="radiomics", metric="kid", value=1.0, beyond=share)
        for share in (FAR / 2, 0.5)
    )
    (told,) = far_apart([near, far])
    assert far_apart([near]) == () and "1 of 2 rows" in told and "50 %" in told


def test_few_draws_are_audited_and_said_to_be_rough(summary: Summary) -> None:
    rows = [row for row in summary.memory if row.method == "weak"]
    assert rows and all(math.isfinite(row.audit.ratio) and math.isfinite(row.audit.authentic) for row in rows)


def test_the_same_model_under_two_names_does_not_differ(table: Table, summary: Summary) -> None:
    rows = [c for c in summary.contrasts if {c.first, c.second} == {"weak", "twin"}]
    assert rows and all(c.difference.low == c.difference.point == c.difference.high == 0 for c in rows)
    for metric in ("psnr-hole", "energy-hole"):
        pair = [summary.estimate(name, "patch:0.5", metric) for name in ("weak", "twin")]
        assert all(p is not None and p.tied for p in pair)


def test_a_metric_that_is_not_installed_here_has_numbers_and_no_best(table: Table) -> None:
    """As LPIPS, where the report is made without its weights."""
    rows = estimates(dataclasses.replace(table, metrics={"elsewhere": table.metrics["psnr-hole"]}))
    assert {row.metric for row in rows} == {"elsewhere"} and all(math.isfinite(row.value) for row in rows)
    assert not any(row.tied or row.floor for row in rows)


def test_holes_in_training_frames_that_come_back_better_are_told(table: Table) -> None:
    # the twin of a model in the place of the same model on training frames
    name, twin = "weak" + Probe.SUFFIX, table.columns["method"] == "twin"
    columns = {**table.columns, "method": np.where(twin, name, table.columns["method"])}
    columns["subject"] = np.where(twin, "trained", table.columns["subject"])
    methods = {**table.methods, name: dataclasses.replace(table.methods["twin"], name=name, kind="probe")}
    errors = table.metrics["mse-hole"]
    for share, auc in ((1.0, 0.5), (0.0, 1.0)):
        metrics = {"mse-hole": np.where(twin, share * errors, errors)}
        rows = probe_rows(dataclasses.replace(table, columns=columns, methods=methods, metrics=metrics))
        assert [(row.method, row.mask) for row in rows] == [("weak", mask) for mask in table.masks]
        assert all(row.auc == pytest.approx(auc) for row in rows)


def test_a_worse_model_is_worse_but_four_patients_show_nothing(summary: Summary) -> None:
    row = next(c for c in summary.contrasts if (c.first, c.second, c.metric) == ("weak", "strong", "psnr-hole"))
    assert row.difference.low > 0 and row.dz.point > 1 and row.cliff.point == 1
    strong = summary.estimate("strong", "patch:0.5", "psnr-hole")
    assert row.p > 0.05 and strong is not None and strong.tied  # 2^(1 - 4) is the least p of four patients


def test_positive_controls_come_out_as_they_must(summary: Summary) -> None:
    """A blurred truth is near in error and far in sharpness; another patient is the other way round."""

    def value(method: str, metric: str) -> float:
        found = summary.estimate(method, "patch:0.5", metric)
        assert found is not None
        return found.value

    blurred, other = "control: blurred truth", "control: other patient"
    assert value(blurred, "psnr-hole") > value("harmonic", "psnr-hole") > value(other, "psnr-hole")
    assert value(blurred, "sharpness-high") < 0.3 < value(other, "sharpness-high")
    kid = {m: summary.set_row(m, "patch:1", "radiomics", "kid") for m in (blurred, other, "mean")}
    assert all(k is not None and math.isnan(k.value) and k.reason for k in kid.values()) or (
        kid[other].value < kid[blurred].value  # type: ignore[union-attr]
    )


def test_gates_hold_and_fail_by_their_own_fault(table: Table) -> None:
    assert {g.name: g.status for g in gates(table)} == dict.fromkeys(
        ("leak", "masks", "known", "range", "ratio", "patients"), "pass"
    )

    def failing(**columns: Any) -> set[str]:
        changed = dataclasses.replace(table, columns={**table.columns, **columns})
        return {g.name for g in gates(changed) if g.status == "fail"}

    masks = table.columns["known_sha1"].copy()
    masks[table.rows("weak")[0]] = "0" * 16
    assert failing(known_sha1=masks) == {"masks"}
    exact = table.columns["exact"].copy()
    exact[0] = False
    assert failing(exact=exact) == {"known"}
    assert failing(high=table.columns["high"] + 1) == {"range"}
    assert failing(hidden=table.columns["hidden"] / 2) == {"ratio"}
    subject = table.columns["subject"].copy()
    subject[table.rows("bank")] = subject[table.rows("real")[0]]
    assert failing(subject=subject) == {"patients"}


def test_a_model_whose_leaks_were_not_tested_is_unknown(table: Table) -> None:
    lines = tuple(dataclasses.replace(line, facts={**line.facts, "leak_tested": 0.0}) for line in table.lines)
    gate = next(g for g in gates(dataclasses.replace(table, lines=lines)) if g.name == "leak")
    assert gate.status == "unknown" and "weak" in gate.detail


def test_pictures_are_of_the_frames_that_were_chosen_before(table: Table, frames: Any) -> None:
    pictures = table.pictures("weak", "patch:0.5")
    assert list(pictures) == [frames[0].id]
    truth, known, *_ = pictures[frames[0].id]
    assert np.array_equal(truth, np.round(frames[0].unit * 255).astype(np.uint8))
    assert set(np.unique(known)) == {0, 255}


def test_a_run_of_few_patients_says_so(summary: Summary) -> None:
    assert any("descriptive" in text for text in summary.caveats)


def test_the_console_shows_every_method_and_mask(summary: Summary) -> None:
    text = "\n".join(lines(summary))
    for name in ("weak", "strong", "harmonic", "control: blurred truth", "patch:0.5", "patch:1"):
        assert name in text
    assert "nan" not in text


def test_claims_without_two_sides_are_not_tested(summary: Summary) -> None:
    assert [c.name for c in summary.claims] == ["C1", "C2", "C2b", "C3", "C4", "C5"]
    assert {c.outcome for c in summary.claims} == {"not-tested"} and all(c.why for c in summary.claims)


class Segmenter:
    """Labels by brightness, in place of a network."""

    sha256 = "brightness"

    def segment(self, images: NDArray[Any], clean: bool = True) -> NDArray[np.uint8]:
        return np.digitize(images, [0.3, 0.5, 0.7]).astype(np.uint8)


def measured(phantoms: Path, root: Path, choice: str, methods: list[Any]) -> Summary:
    from cmrgz.data import cases
    from cmrgz.evaluation.lineup import Lineup
    from cmrgz.evaluation.options import SweepOptions
    from cmrgz.evaluation.sweep import shown

    frames = read_frames(cases.find(phantoms), (64, 64), choice, spacing=3.6)
    lineup = Lineup(frames, [], methods)
    options = SweepOptions(ratios=(0.5,), samples=2, frames=choice)
    run(Sweep(options, lineup, Scorer(Segmenter(), {}, shown(lineup, choice == "cine")), batch=4), root)
    return summarise(Table.read(root))


def test_volumes_are_those_of_the_same_slices(phantoms: Path, tmp_path: Path, noise: Any) -> None:
    summary = measured(phantoms, tmp_path, "stack", [noise(), Perfect()])
    found = {(b.method, b.biomarker): b for b in summary.biomarkers}
    exact = found["perfect", "LVEF"]
    assert exact.n == 4 and exact.bias == exact.mae == 0
    assert found["noise", "LVEDV"].mae > 0


def test_motion_is_that_of_the_truth_for_the_truth_and_flickers_for_noise(
    phantoms: Path, tmp_path: Path, noise: Any
) -> None:
    summary = measured(phantoms, tmp_path, "cine", [noise(level=0.3), Perfect()])
    found = {(b.method, b.biomarker): b for b in summary.biomarkers}
    for name in ("motion", "lv-roughness", "lv-closure"):
        assert found["perfect", name].mae == pytest.approx(0, abs=1e-9), name
    assert found["noise", "motion"].bias > 1


def test_who_was_trained_on_a_patient_of_the_run_is_told(make_sweep: MakeSweep, noise: Any, tmp_path: Path) -> None:
    order = make_sweep([noise()])
    order.lineup.methods[0].trained_on = frozenset([order.lineup.frames[0].subject])
    run(order, tmp_path)
    gate = next(g for g in gates(Table.read(tmp_path)) if g.name == "patients")
    assert gate.status == "fail" and "noise" in gate.detail


def test_a_unit_that_was_done_twice_differently_is_told(table: Table, tmp_path: Path) -> None:
    from cmrgz.durable import Journal
    from cmrgz.evaluation.store import JOURNAL

    line = read_lines(table.root)[0]
    record = {"unit": line.unit, "cells": list(line.cells), "sha256": line.sha256, "facts": dict(line.facts)}
    with Journal(tmp_path / JOURNAL) as journal:
        journal.append(record)
        journal.append(record)  # an equal twin is nothing
        assert len(read_lines(tmp_path)) == 2
        journal.append({**record, "sha256": "0" * 64})
    with pytest.raises(CheckpointError, match="nondeterministic"):
        Table.read(tmp_path)


def test_an_empty_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="empty"):
        Table.read(tmp_path)


def test_estimates_and_contrasts_are_functions_of_the_table(table: Table) -> None:
    assert repr(estimates(table)) == repr(estimates(table))
    assert repr(contrasts(table)) == repr(contrasts(table))


def test_one_sample_a_frame_is_told_and_has_no_spread(make_sweep: MakeSweep, tmp_path: Path) -> None:
    run(make_sweep(samples=1), tmp_path)
    found = summarise(Table.read(tmp_path))
    assert any("one sample" in text for text in found.caveats)
    assert found.estimate("noise", "patch:0.25", "energy-hole") is None
    assert found.estimate("noise", "patch:0.25", "psnr-hole") is not None


@pytest.mark.parametrize("spec", ["slices:3", "slices:5", "slices:3-5,9", "frames:every=2", "file:01234567,hidden"])
def test_a_mask_without_a_ratio_is_called_by_its_own_text(spec: str) -> None:
    assert MaskInfo.of(spec).pattern == spec


def test_masks_of_one_pattern_differ_by_what_they_hide_alone() -> None:
    found = [MaskInfo.of(spec) for spec in ("half:0.5,side=top", "half:0.75,side=top")]
    assert {info.pattern for info in found} == {"half:side=top"} and [info.ratio for info in found] == [0.5, 0.75]
