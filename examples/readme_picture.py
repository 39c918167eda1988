"""Draw the picture of the README: a slice of the phantom, what was hidden of it, the result, the spread of the draws.

It is what `--preview` shows, of one slice and phase, and a smaller file.

python examples/readme_picture.py [SCAN] [--model ar-vq] [--out cmrgz/docs/first-scan.png]
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cmrgz import checkpoint, preview, tasks
from cmrgz.data import masks, scan

TITLES = ("scan", "hidden (orange)", "result: mean of {} draws", "spread of the draws")
SIDE, LINE = 200, 24
"""Pixels of a plane in the picture, and of the line of titles above it."""


def main() -> None:
    """Read the options and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", type=Path, nargs="?", default=Path(__file__).with_name("phantom.nii.gz"))
    parser.add_argument("--model", default="ar-vq")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--phase", type=int, default=1, help="counted from 1")
    parser.add_argument("--slice", type=int, default=3, help="counted from 1")
    parser.add_argument("--out", type=Path, default=Path("cmrgz/docs/first-scan.png"))
    chosen = parser.parse_args()
    cells = planes(scan.load(chosen.scan), chosen.model, chosen.samples, (chosen.phase - 1, chosen.slice - 1))
    chosen.out.write_bytes(png(cells, [title.format(chosen.samples) for title in TITLES]))
    print(f"{chosen.out}: {chosen.out.stat().st_size} bytes")


def planes(image: scan.Scan, name: str, samples: int, at: tuple[int, int]) -> list[Image.Image]:
    """Inpaint a scan as the README does, and return the four planes of the picture at one (phase, slice)."""
    known = masks.parse("0.7").draw(image.shape, seed=0)
    model, _ = checkpoint.open_model(name)
    drawn = tasks.inpaint(model, image, known, tasks.Setting(seed=0, samples=samples))
    view, spread = preview.View.of(image, drawn.scale), drawn.std[at]
    given = view.grey(image.plane(*at))
    colours = (
        given,
        preview.tinted(given, known[at]),
        view.grey(drawn.mean[at]),
        preview.heat(spread, float(np.quantile(spread, 0.995))),
    )
    return [view.image(colour).resize((SIDE, SIDE), Image.Resampling.LANCZOS) for colour in colours]


def png(cells: list[Image.Image], titles: list[str]) -> bytes:
    """Return planes side by side under their titles, in few colours so that the file is small."""
    page = Image.new("RGB", (len(cells) * SIDE, SIDE + LINE))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for column, (title, cell) in enumerate(zip(titles, cells, strict=True)):
        draw.text((column * SIDE + 6, 4), title, fill=(254, 254, 254), font=font)
        page.paste(cell, (column * SIDE, LINE))
    file = io.BytesIO()
    page.quantize(128).save(file, "PNG", optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    main()
