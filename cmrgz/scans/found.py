"""What a result was made of, found again: its sidecar, the scan that was given, the draws, what was hidden."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz import records
from cmrgz.data import masks
from cmrgz.data.finer import Finer
from cmrgz.data.hashes import sha256_of_array, sha256_of_file
from cmrgz.data.importers import Case
from cmrgz.data.intensity import Scale
from cmrgz.data.scan import Scan, Shape, load
from cmrgz.durable import is_file, is_folder, read_bytes
from cmrgz.errors import CmrgzError, DataError, warn
from cmrgz.scans.files import NIFTI, Names, strip
from cmrgz.scans.hiding import Hiding
from cmrgz.scans.pages import DRAWS
from cmrgz.scans.scans import find_scans

Bools = NDArray[np.bool_]
INPAINT, GENERATE = "cmrgz inpaint", "cmrgz generate"
ENDS = ("_inpainted", "_refined")
"""What a name has more than that of the scan."""
MOST = 1 << 22
"""Bytes of the largest sidecar that is read."""

_HASH = {"sha256": records.sha256}


def _holds(checks: records.Checks) -> records.Check:
    """Return a check for an object with these fields."""
    return lambda value: (
        isinstance(value, dict) and checks.keys() <= value.keys() and all(f(value[k]) for k, f in checks.items())
    )


_MASK = {"hidden_fraction": records.number, "known_sha256": records.sha256}
_ALL: dict[str, records.Check] = {
    "seed": lambda value: records.whole(value) and value >= 0,
    "scale": _holds({"low": records.number, "high": records.number}),
    "outputs": lambda value: _holds({"image": _holds(_HASH)})(value) and all(map(_holds(_HASH), value.values())),
}
_OPTIONS: records.Checks = {
    "samples": lambda value: records.natural(value) and value <= 1000,
    "keep_samples": records.kind(bool),
    "nonfinite": records.one_of("refuse", "zero"),
    "orientation": records.one_of("refuse", "sform"),
}
_REFINE: records.Checks = {"z": records.one_of(*range(1, 9)), "t": records.one_of(*range(1, 9))}
_OF: dict[str, dict[str, records.Check]] = {
    INPAINT: {
        "image_is": records.text,
        "input": _holds(_HASH),
        "mask": _holds(_MASK),
        "options": _holds(_OPTIONS),
        "refine": records.optional(_holds(_REFINE)),
    },
    GENERATE: {
        "sample": lambda value: records.whole(value) and value >= 0,
        "like": records.optional(_holds({"mask": records.optional(_holds(_MASK))})),
    },
}
"""What of a sidecar is used, by the command that wrote it."""


@dataclass(frozen=True)
class Told:
    """What the sidecar of a result says.

    Attributes:
        result: The result.
        facts: All of it; what is used of it is checked.
    """

    result: Path
    facts: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, result: Path) -> "Told | None":
        """Read the sidecar beside a result; None where there is none, or it tells of something else, which is told."""
        if is_folder(result) or not result.name.lower().endswith(NIFTI):
            return None
        path = Names(result).sidecar
        if not is_file(path):
            return None
        where = str(path)
        try:
            facts = records.parse(read_bytes(path, DataError, MOST), where, refuse=DataError, lenient=True)
            if not facts.get("synthetic") or facts.get("command") not in tuple(_OF):
                return None  # of somebody else
            records.check(facts, _ALL | _OF[facts["command"]], where, refuse=DataError)
        except CmrgzError as error:
            warn("sidecar", where, f"is not used: {error.what}", hint="the scan alone is shown")
            return None
        if facts["outputs"]["image"]["sha256"] != sha256_of_file(result):
            warn("sidecar", where, "is not used: it tells of another image", hint="the scan alone is shown")
            return None
        return cls(result, facts)

    @property
    def inpainted(self) -> bool:
        """Whether the result is an inpainted scan."""
        return bool(self.facts["command"] == INPAINT)

    @property
    def number(self) -> int:
        """The number of a generated scan, from 1."""
        return int(self.facts["sample"]) + 1

    @property
    def scale(self) -> Scale:
        """The intensities that the model saw as -1 and 1."""
        return Scale(float(self.facts["scale"]["low"]), float(self.facts["scale"]["high"]))

    @property
    def finer(self) -> Finer:
        """The finer grid on which was drawn."""
        of = self.facts["refine"] or {}
        return Finer(of.get("z", 1), of.get("t", 1))

    @property
    def draws(self) -> range:
        """The numbers of the draws that were kept."""
        return self._names.draws

    @property
    def _names(self) -> Names:
        options = self.facts["options"]
        return Names(self.result, options["samples"], options["keep_samples"])

    @property
    def _wanted(self) -> dict[str, Path]:
        """The files of the spread and of the draws that a page shows."""
        shown = ["std", *(f"sample{k:02d}" for k in self.draws[:DRAWS])]
        return {role: path for role, path in self._names.roles.items() if role in shown}

    def beside(self, shape: Shape, axes: str | None) -> dict[str, Scan]:
        """Return the spread and the first draws, where they are there, by their roles."""
        found = {}
        for role, path in self._wanted.items():
            wanted = self.facts["outputs"].get(role, {}).get("sha256")
            if is_file(path) and sha256_of_file(path) == wanted:
                found[role] = load(path, axes=axes)
        return {role: scan for role, scan in found.items() if scan.shape == shape}

    def missing(self, found: Mapping[str, Scan]) -> tuple[str, ...]:
        """Return what to say of files that are not as they were written."""
        names = [role for role in self._wanted if role not in found]
        return (f"Not found as it was written: {', '.join(names)}.",) if names else ()

    def known(self, shown: Scan, given: "Given | None", std: Scan | None) -> tuple[Bools | None, tuple[str, ...]]:
        """Return what was known, (t, z, y, x), and how that was found out where the mask cannot be drawn again."""
        mask = self.facts["mask"] if self.inpainted else (self.facts["like"] or {}).get("mask")
        if mask is None:
            return None, ()
        if given is not None and given.known is not None:
            return given.known, ()
        if not (self.inpainted and self.finer.axes):
            drawn = _drawn(mask, self.facts["seed"], shown, None)
            if _is(drawn, mask):
                return drawn, ()
        known = _untouched(shown, given.scan if given else None, std)
        if known.all():
            return None, ("What was hidden is not marked: the mask was a file, or needs the scan.",)
        return known, ("Marked as hidden is what was changed: the mask was a file, or needs the scan.",)


@dataclass(frozen=True, eq=False)
class Given:
    """The scan that was given.

    Attributes:
        scan: On the grid of the result.
        known: (t, z, y, x) bool, what was given of it; None where the mask cannot be drawn again.
    """

    scan: Scan
    known: Bools | None

    @classmethod
    def find(cls, told: Told, shape: Shape, source: Path | None, axes: str | None) -> "Given | None":
        """Find what was given for a result of this shape, by its hash; None where it is not there.

        Raises:
            DataError: `hash`: `source` is another scan; or it is refused.
        """
        wanted = told.facts["input"]["sha256"]
        if source is not None and sha256_of_file(source) != wanted:
            raise DataError("hash", str(source), "is not the scan that was inpainted", hint="name another, or none")
        path = source or next((p for p in _candidates(told.result) if sha256_of_file(p) == wanted), None)
        if path is None:
            return None
        case = next(iter(find_scans([path], axes=axes)), None)
        options = told.facts["options"]
        scan = load(path, nonfinite=options["nonfinite"], orientation=options["orientation"], axes=axes)
        known = _drawn(told.facts["mask"], told.facts["seed"], scan, case)
        if told.finer.axes:
            cycle = bool(told.facts["refine"].get("full_cycle"))
            scan, known = told.finer.refined(scan, np.ones(scan.shape, bool) if known is None else known, cycle)
        return cls(scan, known if _is(known, told.facts["mask"]) else None) if scan.shape == shape else None


def _candidates(result: Path) -> list[Path]:
    """Return files that are named as the scan of a result is, near it or here."""
    stem = strip(result.name)
    stems = [stem, *(stem.removesuffix(end) for end in ENDS if stem.endswith(end))]
    folders = dict.fromkeys(path.absolute() for path in (result.parent, result.parent / "..", Path()))
    paths = [folder / (name + end) for folder in folders for name in stems for end in (*NIFTI, ".hdr")]
    return [path for path in paths if is_file(path)]


def _drawn(mask: Mapping[str, Any], seed: int, scan: Scan, case: Case | None) -> Bools | None:
    """Return what a mask leaves of a scan, drawn again; None where it was a file or needs a case that is not there."""
    if "spec" not in mask:
        return None
    if mask["spec"] is None:
        return np.ones(scan.shape, bool)
    with suppress(CmrgzError):
        pattern = masks.parse(str(mask["spec"]))
        if case is not None:
            return Hiding(pattern, seed).known(scan, case)
        if "heart" not in pattern.spec:
            return pattern.draw(scan.shape, seed=seed, spacing=scan.spacing)
    return None


def _untouched(shown: Scan, given: Scan | None, std: Scan | None) -> Bools:
    """Return where a result is what was given and its draws agree, as far as these are there."""
    same = np.ones(shown.shape, bool)
    for t, z in np.ndindex(shown.shape[:2]):
        if given is not None:
            same[t, z] &= given.plane(t, z) == shown.plane(t, z)
        if std is not None:
            same[t, z] &= std.plane(t, z) == 0
    return same


def _is(known: Bools | None, mask: Mapping[str, Any]) -> bool:
    return known is not None and sha256_of_array(known) == mask["known_sha256"]
