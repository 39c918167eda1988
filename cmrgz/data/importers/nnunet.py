"""nnU-Net raw data sets (`imagesTr/case_0000.nii.gz`) and those of the Medical Segmentation Decathlon (no `_0000`)."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from cmrgz.data.importers.case import Case, Found, make_case
from cmrgz.data.importers.folders import patients
from cmrgz.data.importers.label_order import ACDC, LabelOrder
from cmrgz.data.importers.names import LABEL, Sorted, match, sort_out, tail
from cmrgz.data.importers.patients import Patient
from cmrgz.durable import is_file, is_folder, read_bytes
from cmrgz.errors import DataError

RAW = tail(r"images(?P<part>Tr|Ts)/(?P<name>[^/]+)_0000")
PLAIN = tail(r"images(?P<part>Tr|Ts)/(?P<name>[^/]+)")
OTHERS = {r"images(?:Tr|Ts)/[^/]+_\d{4}": "is a further channel of a scan", r"labels(?:Tr|Ts)/[^/]+": LABEL}
LARGEST = 16 << 20
TISSUES = {
    "lv": "lv|lvc|lvbp|lv cavity|left ventric\\w+( cavity| blood ?pool)?",
    "myo": "myo|mlv|lvm|lvmyo|lv myo\\w*|myocardium|left ventric\\w+ myocardium",
    "rv": "rv|rvc|rvbp|rv cavity|right ventric\\w+( cavity| blood ?pool)?",
}
"""How data sets name the parts of the heart."""


def claims_raw(path: Path) -> bool:
    """Return whether a file is the first channel of a scan, named as nnU-Net does."""
    return match(RAW, path) is not None


def claims_plain(path: Path) -> bool:
    """Return whether a file is a scan of a Decathlon data set."""
    return match(PLAIN, path) is not None


def read_raw(root: Path, files: Iterable[Path]) -> Found:
    """Return the first channel of each scan with its label map; `imagesTs` is for testing."""
    return _read(root, sort_out(files, RAW, OTHERS))


def read_plain(root: Path, files: Iterable[Path]) -> Found:
    """Return each scan with its label map; `imagesTs` is for testing."""
    return _read(root, sort_out(files, PLAIN, OTHERS))


def labels_of(folder: Path) -> list[Path]:
    """Return the folder of the label maps of a folder of scans, if it is there."""
    beside = folder.with_name(folder.name.replace("images", "labels"))
    return [beside] if beside != folder and is_folder(beside) else []


def _read(root: Path, found: Sorted) -> Found:
    order = cache(_order)
    whose = patients(root, list(found.images))
    cases = [
        replace(_case(image, name, who, found.left_out), order=order(image.parent.parent))
        for (image, name), who in zip(found.images.items(), whose, strict=True)
    ]
    return Found(cases, found.left_out)


def _case(image: Path, name: re.Match[str], whose: Patient, left_out: dict[Path, str]) -> Case:
    label = next((path for path in _labels(image, name["name"]) if path in left_out), None)
    if label is not None:
        left_out.pop(label)
    split = "test" if name["part"].lower() == "ts" else None
    return make_case(image.parent.parent, image, whose.name, label, split=split, told_by=whose.how)


def _labels(image: Path, name: str) -> list[Path]:
    folder = image.parent.with_name(image.parent.name.replace("images", "labels"))
    return [folder / f"{name}{ending}" for ending in (".nii.gz", ".nii")]


def _order(root: Path) -> LabelOrder:
    """Return what `dataset.json` says of the label values; the usual order where it names none of these."""
    found: dict[str, int] = {}
    for name, value in _names(root / "dataset.json").items():
        if (tissue := _tissue(name)) and 0 < value < 256:
            found.setdefault(tissue, value)
    values = {tissue: (found[tissue],) if tissue in found else () for tissue in TISSUES}
    return LabelOrder(**values) if found else ACDC


def _names(path: Path) -> dict[str, int]:
    """Return name -> value of the labels; older files have them the other way round."""
    data = read_bytes(path, DataError, LARGEST + 1) if is_file(path) else b""
    try:
        labels = json.loads(data).get("labels", {}) if len(data) <= LARGEST else {}
    # Of a damaged file the usual order is taken, which the label maps themselves then have to bear out.
    except (ValueError, RecursionError, AttributeError):
        return {}
    pairs = labels.items() if isinstance(labels, Mapping) else []
    turned = [(name, value) if str(value).isdigit() else (value, name) for name, value in pairs]
    return {str(name): int(value) for name, value in turned if str(value).isdigit() and len(str(value)) < 6}


def _tissue(name: str) -> str | None:
    plain = re.sub(r"[\s_-]+", " ", name).strip().lower()
    return next((tissue for tissue, pattern in TISSUES.items() if re.fullmatch(pattern, plain)), None)
