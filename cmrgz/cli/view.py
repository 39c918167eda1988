"""`cmrgz view`: a page that shows a result, or any scan."""

from pathlib import Path
from typing import Annotated

import typer

from cmrgz.cli.examples import examples
from cmrgz.cli.inpaint import Axes

EXAMPLES = examples(
    ("A result", "cmrgz view scan_inpainted.nii.gz"),
    ("Of a scan that lies elsewhere", "cmrgz view filled/a_inpainted.nii.gz --scan data/a.nii.gz -o a.html"),
    ("Any scan", "cmrgz view scan.nii.gz"),
)


def command(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="What inpaint or generate wrote, or any scan.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The page, a .html file [./NAME.html].")] = None,
    scan: Annotated[
        Path | None,
        typer.Option(help="The scan that was inpainted [by its name, beside RESULT, in the folder above, or here]."),
    ] = None,
    axes: Axes = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Make a page to look through a result in a browser.

    It shows phases and slices, scan, hidden part, result and spread, side by side or blended, and plays the cine. One
    HTML file that needs no network. What belongs to a result is found through the sidecar beside it and told by its
    hash; of any other scan the scan alone is shown. Not a medical device.
    """
    from cmrgz.cli.results import tell
    from cmrgz.scans.view import view

    tell(view(result, output, scan=scan, axes=axes, overwrite=overwrite))
