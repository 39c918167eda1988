"""A sweep is what its file and the command line say, or it is refused."""

from pathlib import Path

import pytest

from cmrgz.errors import UsageError
from cmrgz.evaluation.options import PRESETS, RATIOS, read


def specs(**given: object) -> list[str]:
    return [mask.spec for mask in read("smoke", None, given).masks()]


def test_every_pattern_is_combined_with_every_ratio() -> None:
    assert specs(patterns=("patch", "box:at=heart"), ratios=(0.25, 0.5)) == [
        "patch:0.25", "patch:0.5", "box:0.25,at=heart", "box:0.5,at=heart",
    ]  # fmt: skip


def test_nothing_or_all_hidden_is_the_same_for_every_pattern_and_comes_once() -> None:
    assert specs(patterns=("patch", "box"), ratios=(0.0, 0.5, 1.0)) == ["patch:0", "patch:0.5", "patch:1", "box:0.5"]


def test_a_pattern_that_has_its_share_stands_alone() -> None:
    assert specs(patterns=("half:bottom", "patch:0.7"), ratios=(0.25, 0.5)) == ["half:0.5", "patch:0.7"]


def test_presets_are_sweeps_and_the_larger_ones_cover_the_dial() -> None:
    for preset in PRESETS:
        assert read(preset, None, {}).masks()
    assert PRESETS["standard"].ratios == RATIOS == (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
    assert len(PRESETS["paper"].seeds) == 3


def test_the_command_line_wins_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("samples: 5\nsubjects: 3\nmodels: [ar-vq, 'ldm-unet:algorithm=replace']\n")
    read_ = read("smoke", file, {"subjects": 2, "samples": None})
    assert (read_.subjects, read_.samples, read_.frames) == (2, 5, PRESETS["smoke"].frames)
    assert read_.models == ("ar-vq", "ldm-unet:algorithm=replace")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ratio: [0.5]", "unknown-key"),
        ("samples: many", "type"),
        ("samples: 0", "range"),
        ("ratios: [1.5]", "range"),
        ("ratios: []", "range"),
        ("seeds: [0, 0]", "range"),
        ("frames: all", "range"),
        ("patterns: [patsh]", "usage"),
        ("subjects: 0", "range"),
    ],
)
def test_what_makes_no_sweep_is_refused_with_its_place(tmp_path: Path, text: str, code: str) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        read("smoke", file, {})
    assert error.value.code == code


def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="smoke"):
        read("smok", None, {})
