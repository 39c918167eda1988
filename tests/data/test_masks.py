import math
from hashlib import sha1
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrgz.data.mask_patterns import PATTERNS, PlanePattern
from cmrgz.data.masks import Mask, parse
from cmrgz.errors import CmrgzError, DataError, UsageError

RATIOS = [0, 0.01, 0.1, 0.25, 0.5, 0.7, 0.75, 0.9, 1]
PIXELS = ["box", "box:at=heart", "outpaint", "half", "half:top", "half:left", "half:right", "irregular"]
PATCHES = ["patch", "patch:size=8", "heart", "anti-heart", "box:size=16", "kt", "kt:size=8"]
quick = settings(deadline=None, max_examples=25)


def with_ratio(recipe: str, ratio: float) -> Mask:
    name, _, rest = recipe.partition(":")
    return parse(f"{name}:{ratio}" + (f",{rest}" if rest else ""))


def label_of(shape: tuple[int, ...]) -> Any:
    label = np.zeros(shape, dtype=np.uint8)
    label[:, :, 20:44, 20:44] = 2
    label[:, :, 26:38, 26:38] = 3
    return label


def round_half_up(x: float) -> int:
    return math.floor(x + 0.5)


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("0.7", "patch:0.7"),
        (" 0.70 ", "patch:0.7"),
        ("patch:0.7,size=16", "patch:0.7"),
        ("0.5,size=8", "patch:0.5,size=8"),
        ("1", "patch:1"),
        ("-0", "patch:0"),
        ("1e-1", "patch:0.1"),
        ("box:0.3,at=heart", "box:0.3,at=heart"),
        ("box:heart,0.3", "box:0.3,at=heart"),
        ("box:0.3,at=random", "box:0.3"),
        ("irregular:0.4", "irregular:0.4"),
        ("half", "half:0.5"),
        ("half:bottom", "half:0.5"),
        ("half:0.5, side=top", "half:0.5,side=top"),
        ("half:top", "half:0.5,side=top"),
        ("outpaint:0.5", "outpaint:0.5"),
        ("slices:0.5", "slices:0.5"),
        ("frames:every=2", "frames:every=2"),
        ("frames:1", "frames:1"),
        ("frames:1.0", "frames:1"),
        ("frames:1-1", "frames:1-1"),
        ("frames:1,1", "frames:1-1"),
        ("frames:2-2", "frames:2"),
        ("slices:9, 3-5", "slices:3-5,9"),
        ("slices:3,4,5,9,4-4", "slices:3-5,9"),
        ("patch:0.5,hold=tz,size=8", "patch:0.5,hold=tz,size=8"),
        ("0.5,hold=t", "patch:0.5,hold=t"),
        ("half:top,hold=z", "half:0.5,hold=z,side=top"),
        ("heart:0.5", "heart:0.5"),
        ("anti-heart:0.5", "anti-heart:0.5"),
        ("kt", "kt"),
        ("kt:size=8,every=4", "kt:every=4,size=8"),
        ("kt:0.5", "kt:0.5"),
        ("kt:0.30,size=8", "kt:0.3,size=8"),
        ("lesion", "lesion"),
    ],
)
def test_spec_is_canonical(typed: str, canonical: str) -> None:
    mask = parse(typed)
    assert mask.spec == canonical
    assert parse(mask.spec) == mask


@pytest.mark.parametrize(
    ("typed", "code", "hint"),
    [
        ("1.5", "range", "0.015"),
        ("70", "range", "0.7"),
        ("-0.1", "range", ""),
        ("patch:1e999", "range", ""),
        ("nan", "usage", "known: "),
        ("", "usage", "known: "),
        ("pach:0.5", "usage", "'patch'"),
        ("patch", "usage", "patch:0.5"),
        ("patch:nan", "usage", ""),
        ("patch:0.5,", "usage", ""),
        ("patch:0.5,0.6", "usage", ""),
        ("patch:0.5,size=8,size=8", "usage", ""),
        ("patch:0.5,sise=8", "unknown-key", "'size'"),
        ("patch:0.5,size=0", "range", ""),
        ("patch:0.5,size=8.5", "range", ""),
        ("patch:0.5,size=" + "9" * 5000, "range", ""),
        ("box:0.5,at=hart", "usage", "'heart'"),
        ("half:botom", "usage", "'bottom'"),
        ("frames", "usage", "frames:0.5"),
        ("frames:every=1", "range", ""),
        ("frames:0.5,every=2", "usage", ""),
        ("frames:3,every=2", "usage", ""),
        ("frames:0.5,3", "usage", ""),
        ("frames", "usage", "counted from 1"),
        ("slices:0-2", "range", "the first plane is 1"),
        ("slices:0,3", "range", "the first plane is 1"),
        ("slices:5-3", "range", "3-5,9"),
        ("slices:99999", "range", ""),
        ("slices:planes=3", "unknown-key", "every"),
        ("patch:3-5", "usage", ""),
        ("patch:0.5,hold=x", "usage", "tz"),
        ("slices:0.5,hold=t", "unknown-key", ""),
        ("kt:1.5", "range", ""),
        ("kt:0.5,every=2", "usage", ""),
        ("lesion:0.5", "usage", "'lesion'"),
    ],
)
def test_bad_spec_is_refused_in_one_line(typed: str, code: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(typed)
    assert (caught.value.code, caught.value.where) == (code, "option --mask")
    assert hint in caught.value.hint
    assert "\n" not in caught.value.line and len(caught.value.line) <= 240


@quick
@given(st.text(alphabet="patch:0.7,=sizbox-+e\n\x00 ", max_size=24).map(lambda text: text.replace("x", "slices:", 1)))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        mask = parse(text)
    except CmrgzError as error:
        assert error.exit_code == 2
    else:
        assert parse(mask.spec) == mask


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("recipe", PIXELS)
def test_pixel_ratio_is_exact_in_every_plane(recipe: str, ratio: float) -> None:
    known = with_ratio(recipe, ratio).draw((2, 2, 37, 51), seed=3, centre=(10.0, 40.0))
    assert known.dtype == np.bool_ and known.shape == (2, 2, 37, 51)
    assert ((~known).sum(axis=(2, 3)) == round_half_up(ratio * 37 * 51)).all()


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("recipe", PATCHES)
def test_patch_ratio_is_exact_and_patches_are_whole(recipe: str, ratio: float) -> None:
    mask = with_ratio(recipe, ratio)
    size = 8 if "size=8" in recipe else 16
    known = mask.draw((2, 2, 48, 80), seed=3)
    tiles = known.reshape(2, 2, 48 // size, size, 80 // size, size)
    assert (tiles.all(axis=(3, 5)) == tiles.any(axis=(3, 5))).all()
    units = 48 * 80 // size**2
    assert ((~known).sum(axis=(2, 3)) == round_half_up(ratio * units) * size**2).all()


@quick
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 20), st.floats(0, 1), st.sampled_from(["patch", "heart"]))
def test_cut_patches_keep_the_pixel_ratio_to_half_a_patch(
    height: int, width: int, size: int, ratio: float, pattern: str
) -> None:
    known = Mask(pattern, ratio, (("size", size),)).draw((1, 1, height, width), seed=5)
    cut = height % size or width % size
    slack = size**2 / 2 if cut else min(size**2 / 2, known.size)
    assert abs((~known).sum() - ratio * height * width) <= slack + 1e-6
    assert ratio > 0 or known.all()
    assert ratio < 1 or not known.any()


@pytest.mark.parametrize("recipe", [*PIXELS, *PATCHES, "frames", "slices"])
def test_a_smaller_ratio_hides_a_part_of_a_larger_one(recipe: str) -> None:
    shape = (5, 4, 37, 50)
    hidden = [~with_ratio(recipe, ratio).draw(shape, seed=1, case="a", centre=(30, 9)) for ratio in RATIOS]
    for less, more in zip(hidden, hidden[1:], strict=False):
        assert (more | ~less).all()
    assert not hidden[0].any() and hidden[-1].all()


@pytest.mark.parametrize("recipe", ["patch", "box", "irregular", "frames", "slices"])
def test_a_mask_is_a_function_of_seed_and_case(recipe: str) -> None:
    mask, shape = with_ratio(recipe, 0.5), (12, 12, 64, 64)
    known = mask.draw(shape, seed=1, case="a")
    assert (known == mask.draw(shape, seed=1, case="a")).all()
    assert (known != mask.draw(shape, seed=2, case="a")).any()
    assert (known != mask.draw(shape, seed=1, case="b")).any()


@pytest.mark.parametrize("recipe", [*PIXELS, *PATCHES])
def test_more_frames_and_slices_change_nothing(recipe: str) -> None:
    mask = with_ratio(recipe, 0.4)
    few, many = mask.draw((2, 1, 40, 40), seed=7), mask.draw((4, 3, 40, 40), seed=7)
    assert (few == many[:2, :1]).all()


@pytest.mark.parametrize("recipe", ["patch", "box", "irregular"])
def test_random_planes_differ(recipe: str) -> None:
    known = with_ratio(recipe, 0.4).draw((2, 2, 64, 64), seed=7)
    planes = known.reshape(4, -1)
    assert len(np.unique(planes, axis=0)) == 4


def test_masks_are_frozen() -> None:
    """Masks are part of published results: a change here is a change of every benchmark."""
    digest = sha1()
    for recipe in ["patch:0.3", "box:0.3", "frames:0.5", "slices:0.5"]:
        digest.update(np.packbits(parse(recipe).draw((6, 5, 64, 72), seed=11, case="p01")).tobytes())
    assert digest.hexdigest() == "d7e1d4edd963582f41ea791363e3fee9b8f4d86d"


def test_patch_is_the_head_of_one_permutation() -> None:
    key = [9, crc32(b"patch"), crc32(b"p01"), 1, 2]
    order = np.random.default_rng(np.random.SeedSequence(key)).permutation(16)
    known = parse("patch:0.5").draw((3, 2, 64, 64), seed=9, case="p01")[2, 1, ::16, ::16]
    # the permutation gives each patch its rank
    assert (known.ravel() == (order >= 8)).all()


@quick
@given(st.integers(8, 60), st.integers(8, 60), st.floats(0.05, 0.95), st.integers(0, 2**63 - 1))
def test_box_is_a_box_inside_the_plane(height: int, width: int, ratio: float, seed: int) -> None:
    hidden = ~parse(f"box:{ratio}").draw((1, 1, height, width), seed=seed)[0, 0]
    rows, cols = np.flatnonzero(hidden.any(axis=1)), np.flatnonzero(hidden.any(axis=0))
    full = (rows[-1] - rows[0] + 1) * (cols[-1] - cols[0] + 1)
    assert full - hidden.sum() <= max(rows.size, cols.size)  # only one row or column is cut
    slack = 2 + max(height / width, width / height)  # a row more or less is worth several columns
    assert abs(rows.size - height * math.sqrt(ratio)) <= slack
    assert abs(cols.size - width * math.sqrt(ratio)) <= slack


def test_box_at_heart_is_centred_on_it() -> None:
    hidden = ~parse("box:0.1,at=heart").draw((1, 1, 100, 120), seed=0, centre=(40.0, 70.0))[0, 0]
    rows, cols = np.nonzero(hidden)
    assert abs(rows.mean() - 40) < 0.6 and abs(cols.mean() - 70) < 0.6


def test_outpaint_is_the_complement_of_a_box() -> None:
    outside = ~parse("outpaint:0.25").draw((1, 1, 32, 48), seed=0)
    inside = ~parse("box:0.75,at=image").draw((1, 1, 32, 48), seed=0)
    assert (outside ^ inside).mean() > 0.99
    assert outside[0, 0, 0].all() and not outside[0, 0, 16, 24]


@pytest.mark.parametrize(("side", "where"), [("bottom", np.s_[5:]), ("top", np.s_[:5])])
def test_half_hides_its_side(side: str, where: Any) -> None:
    hidden = ~parse(f"half:{side}").draw((1, 1, 10, 6), seed=0)[0, 0]
    assert hidden[where].all() and hidden.sum() == 30
    turned = ~parse({"bottom": "half:right", "top": "half:left"}[side]).draw((1, 1, 6, 10), seed=0)[0, 0]
    assert (turned.T == hidden).all()


def test_heart_hides_the_nearest_patches_and_anti_heart_the_farthest() -> None:
    shape = (1, 1, 80, 80)
    near = ~parse("heart:0.04").draw(shape, seed=0, centre=(24, 56))[0, 0]
    assert near[16:32, 48:64].all() and near.sum() == 256
    far = ~parse("anti-heart:0.04").draw(shape, seed=0, centre=(24, 56))[0, 0]
    assert far[64:, :16].all() and far.sum() == 256


def test_heart_measures_in_millimetres() -> None:
    """With rows four times as far apart as columns, the second patch is a neighbour in the row."""
    hidden = ~parse("heart:0.08").draw((1, 1, 80, 80), seed=0, centre=(40, 40), spacing=(8.0, 4.0, 1.0))[0, 0]
    assert hidden[32:48].any() and not hidden[:32].any() and not hidden[48:].any()


def test_heart_centre_falls_back_to_label_then_plane() -> None:
    label = np.zeros((1, 1, 80, 80), dtype=np.uint8)
    label[0, 0, 2:6, 70:74] = 3
    mask = parse("heart:0.04")
    assert not mask.draw(label.shape, seed=0, label=label)[0, 0, :16, 64:].any()
    assert not mask.draw(label.shape, seed=0)[0, 0, 32:48, 32:48].any()


@pytest.mark.parametrize(("recipe", "axis"), [("frames", 0), ("slices", 1)])
def test_whole_frames_or_slices_vanish(recipe: str, axis: int) -> None:
    shape = (7, 5, 6, 6)
    known = np.moveaxis(parse(f"{recipe}:0.5").draw(shape, seed=4), axis, 0).reshape(shape[axis], -1)
    assert (known.all(axis=1) == known.any(axis=1)).all()
    assert (~known.all(axis=1)).sum() == round_half_up(0.5 * shape[axis])
    kept = np.moveaxis(parse(f"{recipe}:every=3").draw(shape, seed=4), axis, 0).all(axis=(1, 2, 3))
    assert np.flatnonzero(kept).tolist() == list(range(0, shape[axis], 3))


@pytest.mark.parametrize(("recipe", "shape"), [("frames:every=2", (1, 4, 8, 8)), ("slices:0.5", (4, 1, 8, 8))])
def test_a_single_frame_or_slice_is_refused(recipe: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="the scan has one (frame|slice)") as caught:
        parse(recipe).draw(shape, seed=0)
    assert (caught.value.code, caught.value.where) == ("usage", "option --mask")


def test_kt_alternates_in_time_and_space() -> None:
    known = parse("kt").draw((2, 1, 32, 32), seed=0)[:, 0]
    assert known[0, 0, 0] and not known[0, 0, 16] and known[0, 16, 16]
    assert (known[0] == ~known[1]).all()
    assert parse("kt:every=4").draw((4, 1, 64, 64), seed=0).mean() == 0.25


@pytest.mark.parametrize(("ratio", "every"), [(0.5, 2), (0.75, 4), (0.875, 8)])
def test_a_share_of_kt_is_as_regular_as_its_every(ratio: float, every: int) -> None:
    shape = (5, 2, 128, 128)
    assert (parse(f"kt:{ratio}").draw(shape, seed=3) == parse(f"kt:every={every}").draw(shape, seed=0)).all()


def test_lesion_hides_a_sector_of_the_myocardium() -> None:
    shape = (3, 2, 64, 64)
    label = label_of(shape)
    label[1] = 0  # a frame without contours
    hidden = ~parse("lesion").draw(shape, seed=0, label=label)
    assert (label[hidden] == 2).all()
    assert 0.1 < hidden[0].sum() / (label[0] == 2).sum() < 0.25
    assert not hidden[1].any() and (hidden[0] == hidden[2]).all()
    with pytest.raises(DataError, match="needs a label"):
        parse("lesion").draw(shape, seed=0)


@pytest.mark.parametrize("name", PATTERNS)
def test_every_pattern_draws(name: str) -> None:
    text = {"frames": "frames:0.5", "slices": "slices:0.5"}.get(name, name)
    text += ":0.5" if isinstance(PATTERNS[name], PlanePattern) else ""
    shape = (2, 2, 64, 64)
    known = parse(text).draw(shape, seed=0, case="ä", label=label_of(shape))
    assert known.shape == shape and known.dtype == np.bool_ and 0 < known.mean() < 1
    known[:] = True  # the caller owns it
    assert "\n" not in (PATTERNS[name].function.__doc__ or "\n").splitlines()[0]


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"seed": -1}, UsageError, "range"),
        ({"seed": 2**63}, UsageError, "range"),
        ({"shape": (4, 4)}, DataError, "dims"),
        ({"shape": (1, 1, 0, 4)}, DataError, "dims"),
        ({"label": np.zeros((1, 1, 4, 5))}, DataError, "shape-mismatch"),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any], error: type[CmrgzError], code: str) -> None:
    arguments = {"shape": (1, 1, 4, 4), "seed": 0, **change}
    with pytest.raises(error) as caught:
        parse("0.5").draw(arguments.pop("shape"), **arguments)
    assert caught.value.code == code


# ---------------------------------------------------------------------- held still, and by number
@quick
@given(
    st.sampled_from([name for name in PATTERNS if isinstance(PATTERNS[name], PlanePattern)]),
    st.sampled_from(["t", "z", "tz"]),
    st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted),
    st.integers(0, 2**63 - 1),
)
def test_what_is_held_is_the_first_plane_in_all(name: str, hold: str, ratios: list[float], seed: int) -> None:
    """Of an axis that is not held the planes stay what they were, and a smaller share stays part of a larger one."""
    shape = (3, 4, 33, 50)
    free = ~parse(f"{name}:{ratios[1]}").draw(shape, seed=seed, case="a", centre=(20, 9))
    less, held = (~parse(f"{name}:{r},hold={hold}").draw(shape, seed=seed, case="a", centre=(20, 9)) for r in ratios)
    first = free[:1] if "t" in hold else free
    first = first[:, :1] if "z" in hold else first
    assert (held == np.broadcast_to(first, shape)).all()
    assert (held | ~less).all()


def test_held_streams_of_the_other_axis_differ() -> None:
    known = parse("patch:0.5,hold=t,size=4").draw((3, 4, 64, 64), seed=1)
    assert len(np.unique(known[0].reshape(4, -1), axis=0)) == 4
    known[:] = True  # the caller owns it


@quick
@given(
    st.sampled_from(["frames", "slices"]), st.sets(st.integers(1, 40), min_size=1), st.randoms(use_true_random=False)
)
def test_planes_by_number_hide_these_alone(name: str, numbers: set[int], random: Any) -> None:
    words = [f"{n}-{n}" if random.random() < 0.5 or numbers == {1} else str(n) for n in numbers]
    mask = parse(f"{name}:{','.join(words)}")
    assert parse(mask.spec) == mask == parse(f"{name}:{','.join(sorted(words))}")
    axis = ["frames", "slices"].index(name)
    known = mask.draw((41, 42, 2, 3), seed=0)
    planes = np.moveaxis(known, axis, 0).reshape(known.shape[axis], -1)
    assert {i + 1 for i in np.flatnonzero(~planes.any(axis=1))} == numbers
    assert planes.all(axis=1).sum() == len(planes) - len(numbers)


@pytest.mark.parametrize("typed", ["slices:5-7", "frames:70", "slices:2,9"])
def test_planes_that_a_scan_has_not_are_told_when_drawn(typed: str) -> None:
    with pytest.raises(UsageError, match=r"the scan has the (slices|frames) 1 \.\. 6 \(got \d+\)") as caught:
        parse(typed).draw((6, 6, 4, 4), seed=0)
    assert (caught.value.code, caught.value.where) == ("range", "option --mask")
