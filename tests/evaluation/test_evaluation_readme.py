"""The README of the evaluation names the keys of a sweep file with their values in the presets."""

import re
from dataclasses import fields
from pathlib import Path

from cmrgz import evaluation
from cmrgz.evaluation.options import PRESETS, SweepOptions

README = (Path(evaluation.__file__).with_name("README.md")).read_text()


def rows() -> dict[str, list[str]]:
    found = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|", README, re.MULTILINE)
    return {name: [smoke, standard] for name, smoke, standard in found}


def test_every_key_is_there() -> None:
    assert set(rows()) == {field.name for field in fields(SweepOptions)}


def shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(shown(v) for v in value)
    if isinstance(value, float):
        return f"{value:g}".replace("0.", ".")
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_the_presets_are_those_of_the_code() -> None:
    for name, said in rows().items():
        for preset, text in zip(("smoke", "standard"), said, strict=True):
            value = getattr(PRESETS[preset], name)
            if value != ():
                assert text.strip('`"') == shown(value), (name, preset)
