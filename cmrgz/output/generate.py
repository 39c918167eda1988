"""Scans from nothing: what `cmrgz generate` does."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmrgz import preview
from cmrgz.data.intensity import UNKNOWN
from cmrgz.data.scan import Scan
from cmrgz.model import Model
from cmrgz.output import sidecar
from cmrgz.output.chosen import Chosen
from cmrgz.output.context import tell_of_context
from cmrgz.output.files import Names, Together, check
from cmrgz.output.hashes import sha256_of_file
from cmrgz.tasks import Drawn, Report, generate

GROUP = 128
"""Frames that are drawn together."""
SHEET = "preview.png"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to generate.

    Attributes:
        chosen: The model.
        number: How many scans.
        slices: Slices of each.
        phases: Frames of each; a model of frames draws them independently of one another.
        seed: Scan n is sample n of this seed, however many there are.
        antithetic: Draw scans 1 and 2, 3 and 4 and so on with opposite random numbers.
        preview: Write a contact sheet.
        overwrite: Replace outputs that are there.
    """

    chosen: Chosen
    number: int = 1
    slices: int = 1
    phases: int = 1
    seed: int = 0
    antithetic: bool = False
    preview: bool = False
    overwrite: bool = False


def generate_scans(
    order: Order,
    output: Path,
    *,
    done: Callable[[Names], None] = lambda _: None,
    report: Report | None = None,
) -> list[Names]:
    """Generate scans `generated-0001.nii.gz` and on, each with its sidecar; what can be refused is refused before.

    Args:
        order: What to generate.
        output: The folder; its parent must be there.
        done: Told each scan when its files are whole.
        report: Told the items done of all scans.

    Returns:
        The files.

    Raises:
        CmrgzError: The outputs cannot be written, or the model fails.
    """
    names = [Names(output / f"generated-{n + 1:04d}.nii.gz") for n in range(order.number)]
    sheets = [output / SHEET] if order.preview else []
    check([path for name in names for path in name.every] + sheets, [], order.overwrite)
    tell_of_context(order.chosen.meta, (order.phases, order.slices, 1, 1))
    model = order.chosen.open()
    shown: list[Any] = []
    for first, scan, drawn, seconds in _groups(order, model, report):
        for k in range(drawn.number):
            facts = _facts(order, drawn, first + k, seconds)
            with Together(order.overwrite) as files:
                files.nifti(names[first + k].image, scan, scan.encode(drawn.sample(k).whole()), 1.0)
                facts["outputs"] = {"image": {"sha256": sha256_of_file(names[first + k].image)}}
                files.raw(names[first + k].sidecar, sidecar.encode(facts))
            done(names[first + k])
        if order.preview:
            shown += [drawn.sample(k) for k in range(min(drawn.number, preview.SCANS - len(shown)))]
    if order.preview:
        with Together(order.overwrite) as files:
            files.raw(sheets[0], preview.contact_sheet(scan, shown, UNKNOWN))
    return names


def _groups(order: Order, model: Model, report: Report | None) -> Iterator[tuple[int, Scan, Drawn, float]]:
    """Yield scans that were drawn together: the number of the first, their grid, themselves and the seconds."""
    height, width = order.chosen.meta.extent.plane
    shape = (order.phases, order.slices, height, width)
    size = max(1, GROUP // (order.phases * order.slices))
    for first in range(0, order.number, size):
        start, count = time.monotonic(), min(size, order.number - first)

        def shifted(done: int, total: int, before: int = first, count: int = count) -> None:
            if report is not None:
                items = total // count
                report(before * items + done, order.number * items)

        setting = order.chosen.setting(order.seed, count, first, order.antithetic)
        scan, drawn = generate(model, shape, setting, report=shifted)
        yield first, scan, drawn, time.monotonic() - start


def _facts(order: Order, drawn: Drawn, number: int, seconds: float) -> dict[str, Any]:
    names = ("number", "slices", "phases", "antithetic", "preview", "overwrite")
    options = {name: getattr(order, name) for name in names} | {"batch_size": order.chosen.batch_size}
    facts = sidecar.describe("cmrgz generate", order.chosen, order.seed, drawn, options, seconds)
    return facts | {"sample": number, "drawn_together": drawn.number, "hidden_fraction": 1.0}
