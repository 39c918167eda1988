"""UK Biobank as its short-axis scans are usually converted: `1000001/sa.nii.gz` (Bai et al., JCMR 2018)."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cmrgz.data.importers.case import Found, make_case
from cmrgz.data.importers.label_order import MNMS
from cmrgz.data.importers.names import FRAME, LABEL, LONG_AXIS, match, sort_out, tail

IMAGE = tail(r"(?P<subject>\d{7})(?:_\d+)*/sa")
MAPS = ("label", "seg")
OTHERS = {
    r"(?:(?:label|seg)_)?la_\w+": LONG_AXIS,
    r"(?:(?:label|seg)4?_)?ao\w*": "is a view of the aorta",
    r"sa_E[DS]": FRAME,
    r"(?:label|seg)_sa(?:_E[DS])?": LABEL,
}


def claims(path: Path) -> bool:
    """Return whether a file is a short-axis cine named as those of UK Biobank."""
    return match(IMAGE, path) is not None


def read(root: Path, files: Iterable[Path]) -> Found:
    """Return the short-axis cines with the label maps of all frames, of ED (frame 0) and of ES.

    A label map drawn by hand (`label_`) comes before one made by a network (`seg_`). Which frame is at ES no file says.
    """
    del root
    found = sort_out(files, IMAGE, OTHERS)
    cases = []
    for image, name in found.images.items():
        case = make_case(image.parent.parent, image, name["subject"])
        label, ed, es = (_label(image, end, found.left_out) for end in ("", "_ED", "_ES"))
        drawn = ((0, ed),) if ed else ()
        case = replace(case, label=label, phase_labels=drawn, loose_labels=(es,) if es else ())
        # Its cines start at the R wave: frame 0 is at end-diastole.
        cases.append(replace(case, ed=0, order=MNMS))
    return Found(cases, found.left_out)


def _label(image: Path, end: str, left_out: dict[Path, str]) -> Path | None:
    beside = [path for path in left_out if path.parent == image.parent]
    for kind in MAPS:
        for path in beside:
            if path.name.lower().startswith(f"{kind}_sa{end.lower()}.nii"):
                left_out.pop(path)
                return path
    return None
