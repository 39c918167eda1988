"""A scan on a finer grid: what is given of it stays, and the new planes are to be drawn."""

from dataclasses import dataclass
from typing import Any

from cmrgz.data.finer import WHERE, WORDS, Bools, Finer
from cmrgz.data.scan import Scan
from cmrgz.errors import UsageError
from cmrgz.grid import is_cycle
from cmrgz.meta import Meta
from cmrgz.scans.context import with_axes

END = "_refined.nii.gz"


@dataclass(frozen=True)
class Refined:
    """A scan on a finer grid.

    Attributes:
        scan: On the finer grid.
        known: (t, z, y, x) bool, what of it is given.
        told: What was done, in a few words.
        facts: What the sidecar says of it.
    """

    scan: Scan
    known: Bools
    told: str
    facts: dict[str, Any]

    @classmethod
    def of(cls, finer: Finer, scan: Scan, known: Bools) -> "Refined":
        """Refine a scan; whether its phases are a full cycle is told by what is known of them.

        Raises:
            UsageError, DataError: See `Finer.refined`.
        """
        # A full cycle also has new phases between the last one and the first.
        cycle = finer.t > 1 and is_cycle(scan.planes, known)
        made, given = finer.refined(scan, known, cycle)
        counts = {"t": (scan.shape[0], made.shape[0]), "z": (scan.shape[1], made.shape[1])}
        steps = {"z": f" of {scan.spacing[0]:.4g} -> {made.spacing[0]:.4g} mm", "t": ""}
        told = ", ".join(f"{counts[a][0]} {WORDS[a]}s -> {counts[a][1]}{steps[a]}" for a in finer.axes)
        given_of = {f"given_{WORDS[axis]}s": counts[axis][0] for axis in finer.axes}
        facts = (described(finer) or {}) | given_of | ({"full_cycle": cycle} if finer.t > 1 else {})
        return cls(made, given, told, facts)


def described(finer: Finer) -> dict[str, Any] | None:
    """Return what the sidecar says of a refinement, whatever the scan; None where there is none."""
    return {"z": finer.z, "t": finer.t} if finer.axes else None


def check_model(finer: Finer, meta: Meta) -> None:
    """Refuse a model that would draw new planes without a look at their neighbours.

    Raises:
        UsageError: `no-context`.
    """
    missing = [axis for axis in finer.axes if axis not in meta.axes]
    if not missing:
        return
    names = " and ".join(f"{WORDS[axis]}s" for axis in missing)
    other = with_axes(missing)
    hint = f"--model {other} sees them" if other else "use a model of blocks"
    what = f"'{meta.name}' does not see neighbouring {names}: new ones would be of another heart"
    raise UsageError("no-context", WHERE, what, hint=hint)
