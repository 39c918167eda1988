"""Volumes, ejection fractions and mass of scans: by their label maps, by the segmenter, and of draws of what is hidden.

A draw is a cine that could be there: each is measured as a scan is, in its own ED and ES. What is told of them is the
median and an interval, see `interval`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from cmrgz.anatomy.function import UNITS, Bools, Floats, Labels, areas, function_of
from cmrgz.anatomy.segmenter import Segmenter
from cmrgz.anatomy.view import View
from cmrgz.data.importers import Case
from cmrgz.data.labels import LV, enclosed, load_labels, refuse_label_map
from cmrgz.data.scan import Scan, load
from cmrgz.errors import CmrgzError, DataError, warn
from cmrgz.model import Model
from cmrgz.plugin import Progress
from cmrgz.scans.choice import Chosen
from cmrgz.scans.context import tell_of_context
from cmrgz.scans.hiding import Hiding, hidden_fraction
from cmrgz.scans.refused import Refused
from cmrgz.tasks import Setting, inpaint

COMMAND = "cmrgz measure"
CENTRAL = 0.8
"""Share of draws that an interval is to hold."""
ENCLOSED = 0.75
"""Share of the border of a left ventricle that is myocardium, at least: .93 and more in three patients and in phantoms,
.66 and less where the segmenter was shown noise and discs."""


@dataclass(frozen=True)
class Measured:
    """What was measured of a scan.

    Attributes:
        scan: Its file.
        source: `labels`, `segmenter`, or `draws`.
        shape: (t, z, y, x).
        values: `function.UNITS`; NaN where there is none. Of draws their medians.
        ends: Frames ED and ES, from 0; of draws those of most.
        low: Of draws, the lower ends of the intervals.
        high: The upper ends.
        draws: The values of each.
        hidden: Share of the voxels that was drawn.
    """

    scan: Path
    source: str
    shape: tuple[int, int, int, int]
    values: Mapping[str, float]
    ends: tuple[int, int]
    low: Mapping[str, float] = field(default_factory=dict)
    high: Mapping[str, float] = field(default_factory=dict)
    draws: Mapping[str, Sequence[float]] = field(default_factory=dict)
    hidden: float = 0.0


@dataclass(frozen=True)
class Posterior:
    """What to hide of each scan, and how to draw it.

    Attributes:
        chosen: The model.
        hiding: What to hide.
        samples: Draws.
        seed: Of the draws.
    """

    chosen: Chosen
    hiding: Hiding
    samples: int
    seed: int

    @cached_property
    def model(self) -> Model:
        """Its weights, read when they are first needed."""
        return self.chosen.open()


def share_of(samples: int) -> float:
    """Return which share of draws an interval of so many holds; 80 %, or less where they are too few to tell."""
    return max(0.0, min(CENTRAL, (samples - 1) / (samples + 1)))


def interval(values: Floats) -> tuple[float, float]:
    """Return the central interval that one more draw lies in with a chance of `share_of(n)`; NaN where one is NaN.

    Between order statistics at p (n + 1) (Weibull 1939), which need no law of the draws: of 9 it is their range.
    """
    if not np.isfinite(values).all():
        return float("nan"), float("nan")
    # A normal law of 4 or 9 draws would promise ends that they do not support; ratios are skewed besides.
    tail = (1 - share_of(len(values))) / 2
    low, high = np.quantile(values, (tail, 1 - tail), method="weibull")
    return float(low), float(high)


def measure_scans(
    found: Sequence[Case],
    posterior: Posterior | None = None,
    device: str = "cpu",
    *,
    done: Callable[[Measured], None] = lambda _: None,
    failed: Callable[[CmrgzError], None] = lambda _: None,
    report: Progress | None = None,
) -> list[Measured]:
    """Measure scans.

    Args:
        found: The scans.
        posterior: What to hide, and how to draw it; None for the scans as they are.
        device: Where the segmenter computes.
        done: Told each measurement.
        failed: Told why a scan of several was refused; the others go on.
        report: Told the items drawn of each scan.

    Returns:
        Of each scan what its label maps say, where it has some, what the segmenter says, and what draws say.

    Raises:
        CmrgzError: What a single scan was refused for; what concerns all of them; or, where every one was refused, a
            line that says so.
    """
    segmenter, refused = Segmenter.open(device=device), Refused(COMMAND, len(found), failed)
    results: list[Measured] = []
    for case in found:
        try:
            # As they come: what the labels say is told, also where the segmenter then finds no heart.
            for result in _measured(case, segmenter, posterior, report):
                results.append(result)
                done(result)
        except CmrgzError as error:
            refused.add(error, case)
    if not results:
        raise refused.all()
    return results


def _measured(
    case: Case, segmenter: Segmenter, posterior: Posterior | None, report: Progress | None
) -> Iterator[Measured]:
    """Yield what is measured of a scan."""
    scan = load(case.image, axes=case.axes)
    refuse_label_map(scan, case)
    if scan.shape[0] == 1:
        what = "has one phase: its volumes stand as those of ED, and there is no ESV, SV or EF"
        warn("no-cycle", str(case.image), what)
    # By its own labels as drawn, on the pixels of the scan; the segmenter sees 1.4 mm and the heart's surroundings.
    drawn_on = _of_labels(case, scan)
    if drawn_on is not None:
        yield _told(case, scan, "labels", drawn_on)
    maps, pixel = segmented(scan, segmenter)
    fault = _without_heart(case, maps, "the scan")
    if fault is None:
        yield _told(case, scan, "segmenter", areas(maps, pixel))
    if posterior is None:
        if fault is not None:
            raise fault
        return
    known = posterior.hiding.known(scan, case)
    tell_of_context(posterior.chosen.meta, scan.shape)
    setting = posterior.chosen.setting(posterior.seed, posterior.samples)
    drawn, pixel = draws_of(posterior.model, scan, known, setting, segmenter, report)
    fault = _without_heart(case, np.stack(drawn), "the draws")
    if fault is not None:
        raise fault
    yield _of_draws(case, scan, known, [areas(labels, pixel) for labels in drawn])


def _without_heart(case: Case, labels: Labels, where: str) -> DataError | None:
    """Return what to say of labels (..., h, w) that are those of no heart, else None."""
    share = enclosed(labels, LV)
    if share >= ENCLOSED:
        return None
    facts = "" if np.isnan(share) else f"what looks most like one has {100 * share:.0f} % of its border in myocardium"
    hint = "is it short-axis? see --axes" if where == "the scan" else "hide less, or use another --model"
    return DataError("no-heart", str(case.image), f"no left ventricle was found in {where}", facts, hint)


def _of_labels(case: Case, scan: Scan) -> Floats | None:
    """Return the areas (t, z, 3) of the label maps, NaN in frames without a left ventricle; None without any."""
    labels = load_labels(case, scan)
    if labels is None:
        return None
    found = areas(labels, float(np.prod(scan.spacing[1:])))
    found[~(labels == LV).any(axis=(1, 2, 3))] = np.nan  # many scans are annotated at ED and ES alone
    return found if np.isfinite(found).any() else None


def segmented(scan: Scan, segmenter: Segmenter) -> tuple[Labels, float]:
    """Return the labels (t, z, 128, 128) that the segmenter finds in a scan, and the area of their pixels, mm^2."""
    view = View.of(scan, np.ones(scan.shape, dtype=bool))
    return _stacked(view.labels(segmenter, scan.planes, np.ndindex(scan.shape[:2])), scan), view.pixel


def draws_of(
    model: Model, scan: Scan, known: Bools, setting: Setting, segmenter: Segmenter, report: Progress | None = None
) -> tuple[list[Labels], float]:
    """Return the labels (t, z, 128, 128) of each draw of what is hidden of a scan, and the area of their pixels, mm^2.

    How the draws are shown to the segmenter is told by what is known of the scan, and so are planes that are known.
    """
    view = View.of(scan, known)
    drawn = inpaint(model, scan, known, setting, report)
    whole: Bools = np.asarray(known.all(axis=(2, 3)))
    places = [(t, z) for t, z in np.ndindex(scan.shape[:2]) if not whole[t, z]]
    # Known planes are segmented once, not once a draw.
    given = view.labels(segmenter, scan.planes, (place for place in np.ndindex(scan.shape[:2]) if whole[place]))
    cines = (drawn.sample(k) for k in range(drawn.number))
    return [_stacked(given | view.labels(segmenter, cine, places), scan) for cine in cines], view.pixel


def _stacked(found: Mapping[tuple[int, int], Labels], scan: Scan) -> Labels:
    return np.stack([np.stack([found[t, z] for z in range(scan.shape[1])]) for t in range(scan.shape[0])])


def _told(case: Case, scan: Scan, source: str, found: Floats) -> Measured:
    """Return what areas (t, z, 3) say."""
    values, ends = function_of(found, scan.spacing[0])
    return Measured(case.image, source, scan.shape, values, ends)


def _of_draws(case: Case, scan: Scan, known: Bools, found: Sequence[Floats]) -> Measured:
    """Return what the areas (t, z, 3) of draws say."""
    # Each in its own ED and ES: in the frames of another the spread of when the heart is smallest would be lost.
    each = [function_of(draw, scan.spacing[0]) for draw in found]
    draws = {name: [values[name] for values, _ in each] for name in UNITS}
    ends = [max(set(frames), key=frames.count) for frames in zip(*(ends for _, ends in each), strict=True)]
    low, high = zip(*(interval(np.array(values)) for values in draws.values()), strict=True)
    return Measured(
        scan=case.image,
        source="draws",
        shape=scan.shape,
        values={name: float(np.median(values)) for name, values in draws.items()},
        ends=(ends[0], ends[1]),
        low=dict(zip(draws, low, strict=True)),
        high=dict(zip(draws, high, strict=True)),
        draws=draws,
        hidden=hidden_fraction(known),
    )
