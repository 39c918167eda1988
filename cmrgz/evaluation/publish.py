"""Publish a run: its summary and its report, from its files alone."""

from pathlib import Path

from cmrgz.durable import remove_stale
from cmrgz.evaluation.report import write
from cmrgz.evaluation.summary.build import summarise
from cmrgz.evaluation.summary.estimates import shown
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.table import Table


def publish(root: Path) -> tuple[Summary, list[Path]]:
    """Write the report of a run that is done or still going on.

    Returns:
        The summary and the files, the HTML page first.

    Raises:
        CheckpointError: The journal or a file of the run is damaged; no cell is done.
        ResourceError: The folder cannot be written.
    """
    remove_stale(root)  # what a death left while it wrote the report before
    table = Table.read(root)
    summary = summarise(table)
    pictures = {(method, mask): table.pictures(method, mask) for method in shown(table) for mask in table.masks}
    return summary, write(summary, pictures, root)
