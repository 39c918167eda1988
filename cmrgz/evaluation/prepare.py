"""Make a sweep ready to run: models checked, data read, networks that measure opened."""

from collections.abc import Sequence

from cmrgz.evaluation.extractors import DEFAULT
from cmrgz.evaluation.lineup import Advance, assemble, choose_models
from cmrgz.evaluation.options import SweepOptions
from cmrgz.evaluation.scoring import Scorer
from cmrgz.evaluation.sweep import Sweep, shown


def prepare(
    options: SweepOptions,
    device: str = "cpu",
    batch_size: int | None = None,
    advance: Advance | None = None,
) -> Sweep:
    """Return a sweep that is ready to run; models are loaded when they are first needed.

    Args:
        options: What to run.
        device: Where models and the networks that measure run.
        batch_size: Most items in flight.
        advance: Told the built-in subjects rendered.

    Raises:
        UsageError: A model or an option is unknown.
        DataError: A scan is missing or damaged; a patient is in test and training data.
        CheckpointError: A checkpoint is missing or damaged.
    """
    from cmrgz.calls import COMPUTE_BATCH

    # Before the data: a name that is wrong is told at once, and not after a hundred scans were read.
    models = choose_models(options, device, batch_size)
    lineup = assemble(options, models, advance)
    scorer = open_scorer(device, options.extractors)
    scorer.shown = shown(lineup, options.frames == "cine")
    batch = COMPUTE_BATCH.get(device.partition(":")[0], COMPUTE_BATCH["cpu"])
    return Sweep(options, lineup, scorer, batch, device)


def open_scorer(device: str = "cpu", extractors: Sequence[str] = DEFAULT) -> Scorer:
    """Return what measures: the bundled segmenter and extractors; see `extractors.open_extractor`."""
    from cmrgz.anatomy.segmenter import Segmenter
    from cmrgz.evaluation.extractors import open_extractor

    opened = [open_extractor(name, device) for name in extractors]
    return Scorer(Segmenter.open(device=device), {extractor.name: extractor for extractor in opened})
