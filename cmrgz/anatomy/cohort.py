"""A cohort of generated scans: what was asked of each, and what a segmenter measures on it.

manifest.csv    a scan a row: image, subject, label, what was asked, and what was measured; a data set by itself
cohort.json     how asked and measured values agree, and what limits them
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz import records
from cmrgz.anatomy.agreement import agreement, correlation
from cmrgz.anatomy.function import UNITS, areas, biomarkers
from cmrgz.anatomy.segmenter import Segmenter
from cmrgz.anatomy.view import segment_scan
from cmrgz.data.intensity import Scale
from cmrgz.data.planes import Planes
from cmrgz.data.scan import Scan
from cmrgz.durable import atomic_write
from cmrgz.errors import warn
from cmrgz.plugin import Progress
from cmrgz.scans.files import Names
from cmrgz.scans.generate import Made, Request, generate_scans
from cmrgz.tasks import SLICE_STEP
from cmrgz.vocabulary import NUMBERS, WORDS

MANIFEST, COHORT = "manifest.csv", "cohort.json"
MEASURED = {"ef": "LVEF", "edv": "LVEDV"}
"""What a condition that is a number asks for, as it is measured."""
SHOWN = ("LVEDV", "LVESV", "LVEF")
ENOUGH, PHASES, HEIGHT = 30, 12, 80.0
"""Scans from which on a correlation is more than descriptive, phases that do not miss the end of systole, and mm of
slices that hold a ventricle."""


@dataclass(frozen=True)
class Measuring:
    """Volumes of the hearts that a segmenter finds; a `Measure` of `generate_scans`."""

    segmenter: Segmenter

    @property
    def sha256(self) -> str:
        """Hash of the segmenter's weights."""
        return self.segmenter.sha256

    def __call__(self, scan: Scan, values: Planes, scale: Scale) -> tuple[NDArray[np.uint8], dict[str, float | None]]:
        """Return the labels (t, z, y, x) of a scan and its biomarkers, None where they are not defined.

        ED is the frame with the largest left ventricle, ES that with the smallest; of a single frame nothing is told.
        """
        labels = segment_scan(self.segmenter, scan, (scale.to_unit(values.whole()) + 1) / 2)
        step, *edges = scan.spacing
        area = areas(labels, float(np.prod(edges)))
        # Not `function_of`: where the segmenter finds no ventricle its labels have a volume of 0, and a single
        # frame is no diastole, since a model of frames draws any phase.
        found, _ = biomarkers(area, area, step)
        if found["LVEDV"] < NUMBERS["edv"].low:  # some pixels, and no ventricle
            found["LVEF"] = np.nan
        return labels, records.plain(found)


@dataclass(frozen=True)
class Cohort:
    """What was made: the scans, and the files about all of them."""

    made: Sequence[Made]
    manifest: Path
    report: Path
    facts: Mapping[str, Any]


def make_cohort(
    request: Request,
    output: Path,
    *,
    done: Callable[[Names], None] = lambda _: None,
    skipped: Callable[[Names], None] = lambda _: None,
    report: Progress | None = None,
) -> Cohort:
    """Generate scans, find the heart in each, and write what was asked and measured.

    Args:
        request: What to generate; it is measured by the bundled segmenter.
        output: The folder; its parent must be there.
        done: As in `generate_scans`.
        skipped: As in `generate_scans`.
        report: As in `generate_scans`.

    Raises:
        CmrgzError: As `generate_scans`.
    """
    request = replace(request, measure=Measuring(Segmenter.open(device=request.chosen.device)))
    paths = output / MANIFEST, output / COHORT
    made = generate_scans(request, output, beside=paths, done=done, skipped=skipped, report=report)
    facts = describe(request, made)
    for code, what in facts["warnings"].items():
        warn(code, str(paths[1]), what)
    again = request.overwrite or request.skip_existing  # what goes on describes the scans that were there as well
    atomic_write(paths[0], manifest(made), overwrite=again)
    atomic_write(paths[1], json.dumps(facts, indent=1, allow_nan=False).encode() + b"\n", overwrite=again)
    return Cohort(made, *paths, facts)


def manifest(made: Sequence[Made]) -> bytes:
    """Return the manifest of scans: a data set whose patients are told what was asked of them."""
    asked = sorted({name for one in made for name in one.facts["condition"]})
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "subject", "label", *asked, *(f"measured_{name.lower()}" for name in SHOWN)])
    for one in made:
        files = one.names.image.name, one.names.image.name.partition(".")[0], one.names.roles["labels"].name
        values = [one.facts["condition"].get(name) for name in asked] + [_measured(one, name) for name in SHOWN]
        writer.writerow([*files, *("" if v is None else v if isinstance(v, str) else f"{v:.6g}" for v in values)])
    return text.getvalue().encode()


def _measured(one: Made, name: str) -> float | None:
    """Return what was measured of a scan, None where it is not defined."""
    value: float | None = one.facts.get("measured", {}).get(name)
    return value


def describe(request: Request, made: Sequence[Made]) -> dict[str, Any]:
    """Return what `cohort.json` says, in JSON's types."""
    asked = [one.facts["condition"] for one in made]
    # Numbers that are the same for all have no correlation with anything.
    spread = [name for name in NUMBERS if len({told.get(name) for told in asked} - {None}) > 1]
    agreements = {name: _agreement(name, made) for name in spread}
    words = [name for name in WORDS if any(name in told for told in asked)]
    return {
        "scans": len(made),
        "model": {"name": request.chosen.meta.name, "weights_sha256": request.chosen.meta.sha256},
        "segmenter_sha256": request.measure.sha256 if request.measure else None,
        "measured": _summaries(made),
        "units": {name: UNITS[name] for name in SHOWN},
        "asked_and_measured": agreements,
        "by": {name: {value: _summaries(_asked(made, name, value)) for value in _values(made, name)} for name in words},
        "warnings": _warnings(request, made, agreements),
    }


def _values(made: Sequence[Made], name: str) -> list[str]:
    return sorted({str(one.facts["condition"][name]) for one in made if name in one.facts["condition"]})


def _asked(made: Sequence[Made], name: str, value: str) -> list[Made]:
    return [one for one in made if one.facts["condition"].get(name) == value]


def _summaries(made: Sequence[Made]) -> dict[str, dict[str, float | int | None]]:
    """Return number, mean and standard deviation of what was measured."""
    found: dict[str, dict[str, float | int | None]] = {}
    for name in SHOWN:
        values = np.array([v for one in made if (v := _measured(one, name)) is not None])
        mean = float(values.mean()) if len(values) else None
        found[name] = {"n": len(values), "mean": mean, "sd": float(values.std(ddof=1)) if len(values) > 1 else None}
    return found


def _agreement(name: str, made: Sequence[Made]) -> dict[str, Any]:
    """Return how what was asked agrees with what was measured, over the scans of which both are known."""
    asked = np.array([one.facts["condition"].get(name, np.nan) for one in made], float)
    measured = np.array([np.nan if (v := _measured(one, MEASURED[name])) is None else v for one in made], float)
    # Both: a model that halves what is asked has a correlation of 1, and its bias says how far off it is.
    found, beyond = correlation(asked, measured), agreement(measured, asked)
    own = {"measured": MEASURED[name], "unit": UNITS[MEASURED[name]], **asdict(found)}
    own |= {"bias": beyond.bias, "limits": beyond.limits, "mae": beyond.mae}
    return {key: records.plain(value) for key, value in own.items()}


def _warnings(request: Request, made: Sequence[Made], agreements: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return what limits the figures, by a code a sentence."""
    found: dict[str, str] = {}
    t, z = request.shape[:2]
    height = z * (request.like.scan.spacing[0] if request.like else SLICE_STEP)
    fewest = min((own["n"] for own in agreements.values()), default=ENOUGH)
    if fewest < ENOUGH:
        found["few-scans"] = f"correlations over {fewest} scans are descriptive: {ENOUGH} or more say something"
    if agreements and t < PHASES:
        found["few-phases"] = f"{t} phases miss the end of systole: ejection fractions are too low, take {PHASES}"
    if "edv" in agreements and height < HEIGHT:
        what = f"volumes are those of {z} slices, {height:g} mm, and what is asked is that of a whole ventricle"
        found["few-slices"] = what
    if lost := sum(_measured(one, "LVEF") is None for one in made):
        found["no-heart"] = f"no left ventricle, or a single frame, in {lost} of {len(made)} scans: these count nowhere"
    return found
