"""What inpainting holds: the scan in its own type, what is known of it, and of each sample what is drawn."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from cmrgz import canvas
from cmrgz.blocks import Box, blocks_in_turn, whole_fill
from cmrgz.data.intensity import Scale
from cmrgz.data.masks import parse
from cmrgz.data.percentiles import percentiles
from cmrgz.data.planes import Planes
from cmrgz.data.scan import Scan, Shape, load, save
from cmrgz.grid import Block, Grid
from cmrgz.plugin import Extent
from cmrgz.scans.choice import Chosen
from cmrgz.scans.hiding import Hiding
from cmrgz.scans.inpaint import Request, inpaint_scans
from cmrgz.scans.scans import find_scans

SHAPE = (12, 6, 256, 256)
HOLE = (slice(0, 2), slice(2, 4), slice(100, 132), slice(96, 128))
BLOCK = Extent(("t", "z", "y", "x"), (5, 3, 32, 32))
MODEL: Any = torch.nn.Identity()
"""Without hints of its own."""
ROOM = 3 << 20
"""Bytes for what is not of the scan: planes in work, names, text."""


def moving(shape: Shape) -> Scan:
    t, z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    row = shape[2] / 2 + 4 * np.cos(2 * np.pi * t / shape[0]) + z
    values = 500 * np.exp(-((y - row) ** 2 + (x - shape[3] / 2) ** 2) / 60)
    noisy = values + 20 * np.random.default_rng(0).random(shape)
    return replace(Scan.blank(shape, (8.0, 1.4, 1.4), 0.04), stored=noisy.astype(np.int16))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a cine of int16 and a mask of a small hole."""
    folder, mask = tmp_path_factory.mktemp("large"), np.zeros(SHAPE, np.uint8)
    mask[HOLE] = 1
    stored = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)
    for name, values in (("scan.nii", stored), ("mask.nii", mask)):
        nib.save(nib.Nifti1Image(values.T, np.diag([-1.4, -1.4, -8, 1])), folder / name)
    return folder / "scan.nii", folder / "mask.nii"


def peak(request: Request, scan: Path, output: Path) -> int:
    """Return the most bytes that numpy and Python held while a scan was inpainted."""
    tracemalloc.start()
    try:
        inpaint_scans(request, find_scans([scan]), output)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore::cmrgz.errors.CmrgzWarning")
@pytest.mark.parametrize("samples", [1, 6])
def test_inpainting_holds_twice_the_scan_and_what_is_drawn(
    files: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: int
) -> None:
    monkeypatch.setattr("cmrgz.tasks.CACHE", 0)
    scan, mask = files
    request = Request(chosen=Chosen.of(str(tiny_checkpoint)), hiding=Hiding.of(str(mask)), samples=samples,
                      keep_samples=samples > 1, overwrite=True)  # fmt: skip
    small = tmp_path / "small.nii"
    save(small, moving((2, 2, 64, 64)))
    inpaint_scans(Request(chosen=request.chosen, hiding=Hiding.of("0.1")), find_scans([small]), tmp_path / "out.nii")
    scans, drawn = 2 * np.prod(SHAPE) * 2, samples * 4 * 64 * 64 * 4
    assert peak(request, scan, tmp_path / "big.nii") <= scans + drawn + ROOM
    before, after = load(scan).stored, load(tmp_path / "big.nii").stored
    known = np.ones(SHAPE, bool)
    known[HOLE] = False
    assert np.array_equal(before[known], after[known]) and not np.array_equal(before, after)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 200, 201, 100_003])
def test_percentiles_of_parts_are_those_of_numpy_to_the_bit(count: int) -> None:
    rng, percents = np.random.default_rng(count), [0, 0.5, 33.3, 50, 99.5, 100]
    for values in (
        rng.integers(-3, 900, count).astype(np.float32),
        np.float32(rng.normal(0, 1e-3, count)) ** 3,
        np.float32(rng.choice([-0.0, 0.0, 1e38, -1e38, 1e-45], count)),
    ):
        found = percentiles(lambda values=values: np.array_split(values, 5), percents)
        assert found == [float(p) for p in np.percentile(values, percents)]


@pytest.mark.parametrize("mask", ["0.4", "frames:0.5", "1"])
def test_a_scale_of_planes_is_that_of_the_whole(mask: str) -> None:
    scan = moving((5, 3, 40, 30))
    known = parse(mask).draw(scan.shape, seed=1)
    assert Scale.fit(scan.planes, known) == Scale.fit(scan.voxels, known)
    still = Planes(scan.shape, np.dtype(np.float32), lambda t, z: np.full((40, 30), 7, np.float32))
    assert Scale.fit(still, known) == Scale.fit(still.whole(), known)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_planes_are_written_as_the_whole_is(tmp_path: Path, name: str) -> None:
    scan = moving((5, 3, 40, 30))
    save(tmp_path / name, scan)
    save(tmp_path / f"b{name}", scan, Planes(scan.shape, scan.stored.dtype, lambda t, z: scan.stored[t, z]))
    assert (tmp_path / name).read_bytes() == (tmp_path / f"b{name}").read_bytes()


def test_a_part_of_a_fill_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = moving((5, 9, 32, 48))
    known = np.ones(scan.shape, dtype=bool)
    known[2:4, 4, 5:20, 5:20] = False
    grid = Grid.of(scan, scan.voxels, known, BLOCK, 8)
    x, seen, wanted = grid.to_model((scan.voxels / 250 - 1).astype(np.float32), known)
    monkeypatch.setattr("cmrgz.blocks.SLAB", 3 * 5 * 32 * grid.window.padded[1])
    blocks = [block for blocks in blocks_in_turn(grid, seen, wanted) for block in blocks]
    box = Box.around(grid, blocks)
    whole, part = whole_fill(MODEL, grid, x, seen), whole_fill(MODEL, grid, x, seen, box)
    assert part.size < whole.size / 2
    for own, all_of in zip(part, whole, strict=True):
        for block in blocks:
            assert np.array_equal(grid.cut(own, box.shifted(block)), grid.cut(all_of, block))


def test_a_canvas_shows_what_was_drawn_from_the_next_round_on() -> None:
    scan = moving((6, 3, 32, 60))
    known = parse("0.5").draw(scan.shape, seed=0)
    given = Planes(scan.shape, np.dtype(np.float32), lambda t, z: np.where(known[t, z], scan.plane(t, z), 0))
    grid = Grid.of(scan, given, known, BLOCK, 8)
    scale = Scale.fit(given, known)
    x, seen, wanted = grid.to_model(scale.to_unit(given.whole()), known)
    drawing = canvas.Canvas(grid, given, known, scale, 2, room=0)
    for part, want in ((drawing.given, x), (drawing.seen, seen), (drawing.wanted, wanted)):
        assert np.array_equal(part.whole(), want)
    first, beside = (Block(0, 0, 0, column) for _, column in sorted(grid.window.tiles)[:2])
    item = np.full(grid.item, 0.25, np.float32)
    drawing.put(1, first, item)
    assert np.array_equal(drawing.cut(1, first)[1], grid.cut(seen, first)), "of this round"
    drawing.end_round()
    wanted_x, wanted_seen = np.where(seen, x, 0).copy(), seen.copy()
    place = (slice(0, 5), slice(0, 3), *grid.area(first))
    wanted_x[place] = np.where(seen[place], x[place], item)
    wanted_seen[place] = True
    for block in (first, beside):
        got, told = drawing.cut(1, block)
        assert np.array_equal(got, grid.cut(wanted_x, block)) and np.array_equal(told, grid.cut(wanted_seen, block))
