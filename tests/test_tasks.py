"""The invariants: hidden values never reach a model, known voxels never change, and an item's bits are its own."""

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from cmrgz import checkpoint
from cmrgz.data.masks import parse
from cmrgz.data.orientation import Orientation
from cmrgz.data.scan import Scan, Shape
from cmrgz.errors import CmrgzWarning, DataError, PluginError, ResourceError
from cmrgz.model import Model
from cmrgz.plugin import Extent
from cmrgz.tasks import Setting, generate, inpaint

SETTING = Setting(seed=3)
MASKS = (
    "patch:0.7", "box:0.5", "outpaint:0.4", "half", "irregular:0.3", "heart:0.4", "anti-heart:0.5", "frames:0.5",
    "slices:0.5", "slices:every=2", "kt", "lesion", "0.3", "1",
)  # fmt: skip
Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> Model:
    return checkpoint.open_model(tiny_checkpoint)[0]


def make_scan(
    shape: Shape = (2, 2, 64, 64), spacing: tuple[float, float, float] = (8, 1.4, 1.4), seed: int = 0
) -> Scan:
    """Return a cine of blobs that move, in numbers like those of a scanner."""
    rng, blank = np.random.default_rng(seed), Scan.blank(shape, spacing, 0.04)
    t, z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    values = 40 * rng.random(shape)
    for _ in range(6):
        row, column, size = rng.random(3) * (shape[2], shape[3], 12)
        moved = row + 3 * np.sin(2 * np.pi * t / shape[0] + z)
        values += 600 * rng.random() * np.exp(-((y - moved) ** 2 + (x - column) ** 2) / (2 * (3 + size) ** 2))
    return replace(blank, stored=values.astype(np.int16))


def label_of(scan: Scan) -> NDArray[np.int16]:
    label = np.zeros(scan.shape, np.int16)
    label[..., 20:44, 20:44] = 2
    label[..., 26:38, 26:38] = 3
    return label


def draw_known(spec: str, scan: Scan, seed: int = 5) -> NDArray[np.bool_]:
    return parse(spec).draw(scan.shape, seed=seed, label=label_of(scan))


def with_hidden(scan: Scan, known: NDArray[np.bool_], values: Any) -> Scan:
    """Return the scan as float32 with other values where hidden."""
    return replace(scan, stored=np.where(known, scan.voxels, values).astype(np.float32))


@pytest.mark.parametrize("spec", MASKS)
def test_hidden_voxels_do_not_matter_and_known_ones_stay(model: Model, spec: str) -> None:
    scan = make_scan()
    known = draw_known(spec, scan)
    drawn = inpaint(model, scan, known, SETTING)
    assert drawn.samples.shape == (1, *scan.shape) and drawn.samples.dtype == np.float32
    assert np.array_equal(drawn.samples[0][known], scan.voxels[known])
    assert np.array_equal(np.where(known, scan.stored, scan.encode(drawn.mean))[known], scan.stored[known])
    noise = np.random.default_rng(1).normal(0, 1e6, scan.shape)
    for values in (noise, np.nan):
        other = inpaint(model, with_hidden(scan, known, values), known, SETTING)
        assert np.array_equal(other.samples, drawn.samples) and other.scale == drawn.scale


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 90), st.integers(1, 90)),
    ratio=st.floats(0, 1),
    pattern=st.sampled_from(["patch", "box", "irregular", "outpaint"]),
    spacing=st.tuples(st.just(8.0), st.sampled_from([0.7, 1.4, 2.9]), st.sampled_from([1.1, 1.4])),
    turns=st.tuples(st.integers(0, 3), st.booleans()),
    seed=st.integers(0, 2**31),
)
def test_any_scan_any_mask(
    model: Model, shape: Shape, ratio: float, pattern: str, spacing: Any, turns: tuple[int, bool], seed: int
) -> None:
    scan = stored_as(make_scan(shape, spacing, seed), *turns)
    known = parse(f"{pattern}:{ratio:f}").draw(scan.shape, seed=seed)
    drawn = inpaint(model, scan, known, replace(SETTING, seed=seed))
    again = inpaint(model, with_hidden(scan, known, np.nan), known, replace(SETTING, seed=seed))
    assert np.array_equal(drawn.samples, again.samples)
    assert np.array_equal(drawn.samples[0][known], scan.voxels[known])
    hidden = drawn.samples[0][~known]
    assert np.isfinite(hidden).all()
    if hidden.size:
        margin = 1e-3 * (1 + drawn.scale.high)
        assert hidden.min() >= drawn.scale.low - margin and hidden.max() <= drawn.scale.high + margin


@pytest.mark.parametrize("batch_size", [1, 3, 8, 1000])
def test_batch_size_does_not_matter(model: Model, batch_size: int) -> None:
    scan = make_scan((2, 2, 64, 64))
    known = draw_known("0.6", scan)
    wanted = inpaint(model, scan, known, replace(SETTING, samples=2))
    got = inpaint(model, scan, known, replace(SETTING, samples=2, batch_size=batch_size))
    assert np.array_equal(got.samples, wanted.samples)
    assert got.items == wanted.items == 8 and got.network_calls >= wanted.network_calls > 0


@pytest.mark.parametrize("batch_size", [1, 7, None])
def test_a_model_always_sees_one_batch_size(batch_size: int | None) -> None:
    """Kernels may round otherwise for another batch size: on some devices they do."""
    sizes: list[int] = []
    scan = make_scan((3, 7, 64, 64))
    toy = Toy(lambda x: (sizes.append(len(x)), x)[1])
    drawn = inpaint(toy, scan, draw_known("0.5", scan), replace(SETTING, batch_size=batch_size))
    assert set(sizes) == {drawn.compute_batch} == {16} and len(sizes) == -(-21 // (batch_size or 16))


def test_other_slices_do_not_matter(model: Model) -> None:
    scan = make_scan((1, 6, 64, 64))
    scan.stored[..., :2, :] = 900  # the scale is the same however much is hidden below
    known = draw_known("0.6", scan)
    known[..., :2, :] = True
    some = known.copy()
    some[:, [0, 2, 5]] = True
    every, part = inpaint(model, scan, known, SETTING), inpaint(model, scan, some, SETTING)
    assert every.scale == part.scale and (every.items, part.items) == (6, 3)
    assert np.array_equal(every.samples[:, :, [1, 3, 4]], part.samples[:, :, [1, 3, 4]])


def test_samples_do_not_depend_on_how_many(model: Model) -> None:
    scan = make_scan()
    known = draw_known("box:0.5", scan)
    three = inpaint(model, scan, known, replace(SETTING, samples=3)).samples
    two = inpaint(model, scan, known, replace(SETTING, samples=2, first=1)).samples
    assert np.array_equal(three[1:], two)
    hidden = ~known
    assert len({part[hidden].tobytes() for part in three}) == 3


def test_nothing_hidden_returns_the_scan_and_calls_nothing(model: Model) -> None:
    for shape in ((2, 2, 64, 64), (1, 1, 50, 77), (1, 2, 20, 30)):
        scan = make_scan(shape)
        drawn = inpaint(model, scan, np.ones(shape, bool), SETTING)
        assert np.array_equal(drawn.samples[0], scan.voxels) and (drawn.items, drawn.network_calls) == (0, 0)


def test_everything_hidden_is_generation(model: Model) -> None:
    scan, drawn = generate(model, (2, 2, 64, 64), SETTING)
    other = inpaint(model, scan, parse("1").draw(scan.shape, seed=9), SETTING)
    assert np.array_equal(drawn.samples, other.samples) and drawn.network_calls == other.network_calls
    unlike = inpaint(model, replace(scan, stored=make_scan().stored), np.zeros(scan.shape, bool), SETTING)
    assert np.array_equal(drawn.samples, unlike.samples)
    assert scan.shape == (2, 2, 64, 64) and scan.spacing == (10, 1.4, 1.4)
    assert drawn.samples.min() >= 0 and drawn.samples.max() <= 255 and drawn.samples.std() > 1


def test_seeds_and_places_differ(model: Model) -> None:
    frames = {}
    for seed in (0, 1):
        drawn = generate(model, (2, 3, 64, 64), replace(SETTING, seed=seed))[1].samples[0]
        frames |= {(seed, t, z): drawn[t, z].tobytes() for t, z in np.ndindex(2, 3)}
    assert len(set(frames.values())) == 12
    again = generate(model, (2, 3, 64, 64), replace(SETTING, seed=1))[1].samples[0]
    assert again[1, 2].tobytes() == frames[1, 1, 2]


def test_the_global_random_state_is_not_touched(model: Model) -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
    inpaint(model, make_scan(), draw_known("0.5", make_scan()), SETTING)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])


def test_options_and_conditions_arrive(model: Model) -> None:
    scan, known = make_scan(), draw_known("0.5", make_scan())
    plain = inpaint(model, scan, known, SETTING).samples
    coldest = [inpaint(model, scan, known, replace(SETTING, seed=s, options={"temperature": 0.0})) for s in (1, 2)]
    assert not np.array_equal(coldest[0].samples, plain)
    assert not np.array_equal(inpaint(model, scan, known, replace(SETTING, condition={"phase": 0.4})).samples, plain)


# ---------------------------------------------------------------------- shapes and storage
@pytest.mark.parametrize("plane", [(50, 77), (64, 64), (65, 63), (130, 100), (140, 30), (17, 19), (1, 1), (8, 150)])
def test_planes_of_any_size(model: Model, plane: tuple[int, int]) -> None:
    scan = make_scan((1, 1, *plane))
    known = parse("patch:0.6,size=8").draw(scan.shape, seed=1)
    drawn = inpaint(model, scan, known, SETTING)
    assert drawn.samples.shape[1:] == scan.shape
    assert np.array_equal(drawn.samples[0][known], scan.voxels[known])
    empty = inpaint(model, scan, np.zeros(scan.shape, bool), SETTING).samples[0, 0, 0]
    assert min(plane) < 8 or (empty.std(0) > 0).all() and (empty.std(1) > 0).all()  # no row or column is left out


def test_a_tile_is_given_what_earlier_ones_drew() -> None:
    scan = make_scan((1, 1, 64, 72))  # two tiles: columns 8 .. 71, then 0 .. 63
    toy = Toy(lambda x: torch.full_like(x, 0.1 * len(toy.calls)))
    drawn = inpaint(toy, scan, np.zeros(scan.shape, bool), SETTING).samples[0, 0, 0]
    (_, nothing), (x, known) = toy.calls
    assert not nothing.any()
    assert known[..., 8:].all() and not known[..., :8].any()
    assert np.allclose(x[..., 8:], 0.1)
    assert len(np.unique(drawn[:, 8:])) == len(np.unique(drawn[:, :8])) == 1 and drawn[0, 0] > drawn[0, -1]


@pytest.mark.parametrize("spacing", [(8, 0.7, 0.7), (8, 2.8, 2.8), (8, 1.4, 2.0), (8, 0.9, 1.8)])
def test_other_pixel_sizes_are_resampled(model: Model, spacing: tuple[float, float, float]) -> None:
    scan = make_scan((1, 2, 90, 60), spacing)
    known = draw_known("box:0.3", scan)
    drawn = inpaint(model, scan, known, SETTING)
    assert np.array_equal(drawn.samples[0][known], scan.voxels[known])
    assert np.isfinite(drawn.samples).all() and drawn.samples[0][~known].std() > 1
    noise = np.random.default_rng(1).normal(0, 1e6, scan.shape)
    assert np.array_equal(inpaint(model, with_hidden(scan, known, noise), known, SETTING).samples, drawn.samples)


def stored_as(scan: Scan, turns: int, flip: bool) -> Scan:
    """Return the same scan in space with its planes stored turned and mirrored."""
    affine = scan.geometry.affine.copy()
    stored = scan.stored
    steps = [*["swap", "x"] * turns, *(["x"] if flip else [])]
    for step in steps:
        if step == "swap":
            stored, affine = stored.swapaxes(-1, -2), affine[:, [1, 0, 2, 3]]
        else:
            affine = affine.copy()
            affine[:3, 3] += affine[:3, 0] * (stored.shape[-1] - 1)
            affine[:3, 0] *= -1
            stored = stored[..., ::-1]
    geometry = replace(scan.geometry, affine=affine, sform=affine[:3])
    return replace(scan, stored=np.ascontiguousarray(stored), geometry=geometry)


@pytest.mark.parametrize("shape, spacing", [((2, 2, 64, 72), (8, 1.4, 1.4)), ((1, 1, 80, 64), (8, 0.8, 2.0))])
def test_storage_does_not_matter(model: Model, shape: Shape, spacing: tuple[float, float, float]) -> None:
    scan = make_scan(shape, spacing)
    mask = replace(scan, stored=draw_known("patch:0.5,size=8", scan).astype(np.int16))
    seen = set()
    for turns, flip in product(range(4), (False, True)):
        other, known = stored_as(scan, turns, flip), stored_as(mask, turns, flip).stored.astype(bool)
        turn = Orientation.of_geometry(other.geometry)
        assert np.array_equal(turn.apply(other.stored), scan.stored)
        drawn = inpaint(model, other, known, SETTING).samples[0]
        seen.add(np.ascontiguousarray(turn.apply(drawn)).tobytes())
    assert len(seen) == 1


def test_a_constant_scan(model: Model) -> None:
    scan = make_scan()
    scan.stored[:] = 700
    drawn = inpaint(model, scan, draw_known("0.5", scan), replace(SETTING, samples=2))
    assert (drawn.samples == 700).all() and (drawn.std == 0).all() and (drawn.mean == 700).all()


def test_mean_and_std_at_known_voxels(model: Model) -> None:
    scan = replace(make_scan(), slope=0.1, inter=0.3)
    known = draw_known("0.5", scan)
    drawn = inpaint(model, scan, known, replace(SETTING, samples=3))
    assert np.array_equal(drawn.mean[known], scan.voxels[known]) and (drawn.std[known] == 0).all()
    assert np.allclose(drawn.mean, drawn.samples.mean(0), rtol=1e-5)
    assert np.allclose(drawn.std, drawn.samples.std(0, ddof=1), rtol=1e-4, atol=1e-5) and drawn.std.max() > 1


# ---------------------------------------------------------------------- plugins that break their word
class Toy(Model):
    """A model whose `sample` is any function."""

    extent = Extent(item=(64, 64))

    def __init__(self, answer: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.answer = answer
        self.calls: list[tuple[Tensor, Tensor]] = []

    def loss(self, x: Tensor, *, condition: Any = None, rng: Any) -> Tensor:
        raise NotImplementedError

    def sample(self, x: Tensor, known: Tensor, *, condition: Any = None, rng: Any, progress: Any = None) -> Tensor:
        assert (x[~known] == 0).all()
        self.calls.append((x.clone(), known.clone()))
        return self.answer(x)


def fail(x: Tensor) -> Tensor:
    raise KeyError("x\ny")


def leave(x: Tensor) -> Tensor:
    sys.exit(3)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda x: x[:1], "plugin-output"),
        (lambda x: x[:, 0], "plugin-output"),
        (lambda x: x[..., :-1], "plugin-output"),
        (lambda x: torch.full_like(x, torch.nan), "plugin-output"),
        (lambda x: torch.where(x == x[0, 0, 0, 0], torch.inf, x), "plugin-output"),
        (lambda x: x.long(), "plugin-output"),
        (lambda x: None, "plugin-output"),
        (lambda x: (part for part in x), "plugin-output"),
        (fail, "plugin-broken"),
        (leave, "plugin-broken"),
    ],
)
def test_a_broken_model_is_named(answer: Callable[[Tensor], Any], code: str) -> None:
    with pytest.raises(PluginError) as caught:
        inpaint(Toy(answer), make_scan(), draw_known("0.5", make_scan()), SETTING)
    assert caught.value.code == code and "\n" not in caught.value.line


def test_what_a_model_returns_is_clipped_and_copied() -> None:
    scan, known = make_scan(), draw_known("0.5", make_scan())
    high = inpaint(Toy(lambda x: torch.full_like(x, 7, dtype=torch.float64)), scan, known, SETTING)
    assert np.allclose(high.samples[0][~known], high.scale.high)
    same = inpaint(Toy(lambda x: x), scan, known, SETTING)
    assert np.array_equal(same.samples[0][known], scan.voxels[known])
    assert np.allclose(same.samples[0][~known], (same.scale.high + same.scale.low) / 2)


def crowded(limit: int, error: Exception) -> Callable[[Tensor], Tensor]:
    def answer(x: Tensor) -> Tensor:
        if len(x) > limit:
            raise error
        return x + 0.5

    return answer


NO_ROOM = (
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: ..."),
)


@pytest.mark.parametrize("error", [*NO_ROOM, MemoryError()])
def test_out_of_memory_halves_the_batch(error: Exception) -> None:
    scan, known = make_scan((3, 3, 64, 64)), draw_known("0.5", make_scan((3, 3, 64, 64)))
    wanted = inpaint(Toy(lambda x: x + 0.5), scan, known, SETTING)
    with pytest.warns(CmrgzWarning, match="out of memory"):
        got = inpaint(Toy(crowded(4, error)), scan, known, SETTING)
    assert np.array_equal(got.samples, wanted.samples)
    assert (got.compute_batch, wanted.compute_batch, got.items) == (4, 16, 9)


@pytest.mark.parametrize("error", NO_ROOM)
def test_one_item_that_does_not_fit_is_refused(error: Exception) -> None:
    with pytest.warns(CmrgzWarning), pytest.raises(ResourceError) as caught:
        inpaint(Toy(crowded(0, error)), make_scan(), draw_known("0.5", make_scan()), SETTING)
    assert caught.value.code == "too-large"


def test_known_must_fit_the_scan(model: Model) -> None:
    scan = make_scan()
    for known in (np.ones((2, 2, 64, 63), bool), np.ones(scan.shape, np.uint8)):
        with pytest.raises(DataError, match="shape-mismatch"):
            inpaint(model, scan, known, SETTING)


def test_progress_and_cancel(model: Model) -> None:
    seen: list[tuple[int, int]] = []
    scan = make_scan((3, 2, 64, 100))
    inpaint(model, scan, draw_known("0.5", scan), replace(SETTING, batch_size=4), lambda *n: seen.append(n))
    done = [d for d, _ in seen]
    assert done == sorted(set(done)) and seen[-1] == (12, 12) and len({total for _, total in seen}) == 1

    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inpaint(model, scan, draw_known("0.5", scan), SETTING, cancel)
