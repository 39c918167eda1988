"""Set metrics of results beside real frames, each with an interval over patients and what reals score against reals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.shares import percent
from cmrgz.evaluation.metrics.base import AVERAGES
from cmrgz.evaluation.metrics.sets import SET_METRICS, Space, control
from cmrgz.evaluation.metrics.sets.base import FARTHEST
from cmrgz.evaluation.statistics.bootstrap import Interval, bootstrap
from cmrgz.evaluation.statistics.kernel import Resampled, kernel_distance
from cmrgz.evaluation.summary.estimates import shown
from cmrgz.evaluation.summary.rows import SetRow
from cmrgz.evaluation.table import Table

PREFIX = "features-"
KID = "kid"
REAL, BANK, WHOLE = "real", "bank", "patch:0"
"""Methods of the cells of real frames, and their mask."""

Features = NDArray[np.float32]


def extractors(table: Table) -> list[str]:
    """Return the names of the extractors whose features a run has."""
    arrays = [name for row in table.rows(REAL)[:1] for name in table.array_names(int(row))]
    # features of averages belong to the extractor that they are of
    names = [name.removeprefix(PREFIX) for name in arrays if name.startswith(PREFIX)]
    return [name for name in names if "-mean-" not in name]


def all_reals(table: Table) -> dict[str, "Reals"]:
    """Return the real frames by extractor; where fewer than two have features, as of motion, there is no space."""
    there = [name for name in extractors(table) if len(features(table, REAL, WHOLE, name, 1)[0]) > 1]
    return {extractor: Reals(table, extractor) for extractor in there}


def set_rows(table: Table, reals: Mapping[str, "Reals"]) -> tuple[SetRow, ...]:
    """Return every set metric of every method and mask, on every extractor."""
    of_features = [row for extractor, own in reals.items() for row in _of_extractor(table, extractor, own)]
    return (*of_features, *_of_images(table))


def _of_images(table: Table) -> Iterator[SetRow]:
    """Yield the set metrics of images, of what was drawn from nothing."""
    metrics = [metric for metric in SET_METRICS.values() if metric.on == "images"]
    # images are compared where nothing was known: elsewhere most of each is the truth itself
    free = [spec for spec, info in table.masks.items() if info.ratio == 1]
    reals, of_reals = images(table, REAL, WHOLE)
    floors = {metric.name: control(metric, reals, of_reals).mean for metric in metrics} if free else {}
    for method, mask in product(shown(table), free):
        drawn, subjects = images(table, method, mask)
        for metric in metrics if len(drawn) else ():
            score = metric.score(drawn, reals, subjects=(subjects, of_reals))
            row = SetRow(method=method, mask=mask, extractor="", metric=metric.name, items=len(drawn))
            yield replace(row, value=score.value, floor=floors[metric.name], reason=score.reason)


def images(table: Table, method: str, mask: str) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Return the first samples (n, h, w) in [0, 1] of frames of which nothing was known, and whose they are (n,)."""
    rows = table.rows(method, mask)
    if not len(rows):
        return np.zeros((0, 1, 1)), np.zeros(0, "U16")
    return table.arrays(rows, "images") / 255, table.columns["subject"][rows]


class Reals:
    """Features of the real frames, and the space that all are compared in: fitted on training frames if there are any.

    Args:
        table: A run.
        extractor: Name of the extractor.
    """

    def __init__(self, table: Table, extractor: str) -> None:
        self.features, self.subjects = features(table, REAL, WHOLE, extractor, 1)
        self.bank, self.bank_subjects = features(table, BANK, WHOLE, extractor, 1)
        # on training frames where there are enough: axes that moved with the frames that are scored would let no two
        # runs be compared
        self.space = Space.fit(self.bank if len(self.bank) > 2 else self.features)

    def distance(self, drawn: Features, subjects: NDArray[np.str_]) -> Resampled:
        """Return the kernel distance x1000 of results (n, d), of patients (n,), as a statistic of patients."""
        generated, real = self.space.standard(drawn), self.space.standard(self.features)
        return kernel_distance(generated, subjects.tolist(), real, self.subjects.tolist())


def features(
    table: Table, method: str, mask: str, extractor: str, average: int
) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Return the features (n, d) of results and whose they are (n,); of samples (average 1) all are taken.

    Results that have none are left out: those without motion, of which the frame before was not drawn.
    """
    rows = table.rows(method, mask)
    name = PREFIX + extractor + ("" if average == 1 else f"-mean-{average}")
    if not len(rows):
        return np.zeros((0, 1), np.float32), np.zeros(0, "U16")
    # (n, samples, d), of averages (n, 1, d)
    stacks = table.arrays(rows, name)
    flat, subjects = stacks.reshape(-1, stacks.shape[-1]), np.repeat(table.columns["subject"][rows], stacks.shape[1])
    there = ~np.isnan(flat).all(1)
    return flat[there], subjects[there]


def _of_extractor(table: Table, extractor: str, reals: Reals) -> Iterator[SetRow]:
    metrics = [metric for metric in SET_METRICS.values() if metric.on != "images"]
    floors = {metric.name: control(metric, reals.features, reals.subjects, reals.space).mean for metric in metrics}
    for method, mask in product(shown(table), table.masks):
        for average in (1, *(m for m in AVERAGES if 1 < m <= table.methods[method].samples)):
            # there are fewer averages than samples, and KID, which is unbiased, compares sets of unequal size
            # (Binkowski et al. 2018, arXiv:1801.01401)
            chosen = metrics if average == 1 else [SET_METRICS[KID]]
            drawn, subjects = features(table, method, mask, extractor, average)
            for metric in chosen if len(drawn) else ():  # of motion there is none where no frame before was drawn
                score = metric.score(drawn, reals.features, reals.space, (subjects, reals.subjects))
                row = SetRow(method=method, mask=mask, extractor=extractor, metric=metric.name, average=average)
                row = replace(row, value=score.value, floor=floors[metric.name], items=len(drawn), reason=score.reason)
                yield _with_interval(row, drawn, subjects, reals) if metric.name == KID else row


def _with_interval(row: SetRow, drawn: Features, subjects: NDArray[np.str_], reals: Reals) -> SetRow:
    """Return a kernel distance with its interval over patients, and how much of it is out of range."""
    interval = Interval()
    if not row.reason:
        resampled = reals.distance(drawn, subjects)
        interval = bootstrap(resampled.of, len(resampled.subjects)).interval()
    return replace(row, low=interval.low, high=interval.high, beyond=reals.space.beyond(drawn))


def far_apart(rows: Sequence[SetRow]) -> tuple[str, ...]:
    """Return a warning where kernel distances are outside the range in which they tell how far sets are apart."""
    every = [row for row in rows if (row.metric, row.average) == (KID, 1)]
    far = [row for row in every if row.far]
    if not far:
        return ()
    of = {name: [row.far for row in every if row.extractor == name] for name in dict.fromkeys(r.extractor for r in far)}
    where = ", ".join(f"in {sum(own)} of {len(own)} rows by {name}" for name, own in of.items())
    worst = max(far, key=lambda row: row.beyond)
    return (
        f"KID is outside its range {where}: there it says that sets differ from real frames, not by how much. "
        f"The worst is {worst.method} under {worst.mask} by {worst.extractor}: {percent(worst.beyond)} of its features "
        f"lie more than {FARTHEST:g} standard deviations from those of real frames",
    )
