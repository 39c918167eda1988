"""The files of a report."""

from pathlib import Path

from cmrgz.durable import atomic_write, remove
from cmrgz.evaluation.report import data, pages
from cmrgz.evaluation.report.content import document
from cmrgz.evaluation.report.pictures import PAGE, Pictures
from cmrgz.evaluation.report.viewer import viewer_page
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import Estimate, SetRow


def write(summary: Summary, pictures: Pictures, root: Path) -> list[Path]:
    """Write a report: `report.html`, `report.md`, `estimates.csv`, `sets.csv`, `summary.json` and `pictures.html`.

    The same summary and pictures give the same bytes. The report stands alone: it loads nothing and runs nothing. The
    last is the viewer of its pictures, where it has some, to which it links.

    Args:
        summary: All numbers.
        pictures: By method and mask, the pictures of the frames that are shown; a method may be missing.
        root: A folder that is there; its files of these names are replaced.

    Returns:
        The files.

    Raises:
        ResourceError: The disk is full or may not be written.
    """
    report = document(summary, pictures)
    contents = {
        "report.html": pages.html(report).encode(),
        "report.md": pages.markdown(report).encode(),
        "estimates.csv": data.to_csv(Estimate, summary.estimates),
        "sets.csv": data.to_csv(SetRow, summary.sets),
        "summary.json": data.to_json(summary),
    }
    if viewer := viewer_page(summary, pictures):
        contents[PAGE] = viewer
    else:
        remove(root / PAGE)
    for name, content in contents.items():
        # a run that is still going on may be reported, and its report be open in a browser
        atomic_write(root / name, content, overwrite=True)
    return [root / name for name in contents]
