"""What a page holds: the voxels that it was given, as many as it may, and no text that could act."""

import base64
import json
import re
import sys
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmrgz.data.intensity import Scale
from cmrgz.data.scan import Scan
from cmrgz.viewer import Content, Layer, page
from cmrgz.viewer.cuts import cuts, start

SCALE = Scale(0.0, 1000.0)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\" '&\udc80\u2028"


def make(shape: tuple[int, int, int, int] = (3, 4, 24, 32), seed: int = 0) -> Scan:
    values = np.random.default_rng(seed).integers(-50, 1000, shape)
    return replace(Scan.blank(shape, (8, 1.4, 2.0), 0.05), stored=values.astype(np.int16))


def content(scan: Scan, **more: Any) -> Content:
    rng = np.random.default_rng(1)
    known = rng.random(scan.shape) > 0.4
    result = np.where(known, scan.voxels, rng.integers(0, 1000, scan.shape)).astype(np.float32)
    spread = np.where(known, 0, rng.random(scan.shape) * 70).astype(np.float32)
    layers = (Layer("scan", scan.voxels), Layer("spread", spread, spread=True), Layer("result", result))
    return replace(Content("Inpainted scan", scan, layers, SCALE, known), **more)


class Elements(HTMLParser):
    """The elements of a page and the text in each kind of them."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(data.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found:
            self.texts.setdefault(self.found[-1][0], []).append(data)


def facts(data: bytes) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', data.decode(), re.DOTALL)
    told: dict[str, Any] = json.loads(text)
    return told


def numbers(told: dict[str, Any], at: int) -> NDArray[np.uint16]:
    """Return the numbers (t, z, rows, columns) of a layer."""
    layer = told["layers"][at]
    raw = np.frombuffer(zlib.decompress(base64.b64decode(layer["data"])), np.uint8).astype(np.uint16)
    low, high = np.split(raw, 2)
    folded = (low | high << 8).reshape(told["shape"])
    apart = np.where(folded % 2 == 1, 65535 - folded // 2, folded // 2).astype(np.uint16)
    if layer["base"] is None:
        return np.cumsum(apart, axis=0, dtype=np.uint16)
    return apart + numbers(told, layer["base"])


def values(told: dict[str, Any], at: int) -> NDArray[np.float64]:
    layer = told["layers"][at]
    return layer["low"] + layer["step"] * numbers(told, at).astype(np.float64)


def hidden(told: dict[str, Any]) -> NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(told["hidden"])), np.uint8))
    return bits[: np.prod(told["shape"])].reshape(told["shape"]).astype(bool)


def stored(told: dict[str, Any], cine: NDArray[Any]) -> NDArray[Any]:
    """Return the voxels of a cine (t, z, y, x) that a page says it shows, where it shows them."""
    names = ("phases", "slices", "rows", "columns")
    t, z, r, c = (told[k][0] + told[k][1] * np.arange(n) for k, n in zip(names, told["shape"], strict=True))
    turned = cine.swapaxes(-1, -2) if told["swap"] else cine
    return turned[np.ix_(t, z, r, c)]


def assert_holds(data: bytes, of: Content) -> dict[str, Any]:
    told = facts(data)
    assert of.known is not None and np.array_equal(hidden(told), ~stored(told, of.known))
    for at, layer in enumerate(of.layers):
        step = told["layers"][at]["step"]
        assert np.abs(values(told, at) - stored(told, np.asarray(layer.values))).max() <= step * 0.5001 + 1e-6
    return told


def test_whole_numbers_are_kept_exactly() -> None:
    of = content(make())
    data = page(of)
    told = assert_holds(data, of)
    assert data == page(of) and told["shape"] == [3, 4, 24, 32] and told["edges"] == [1.4, 2.0]
    assert [layer["step"] for layer in told["layers"]][::2] == [1, 1] and told["layers"][2]["base"] == 0
    assert np.array_equal(values(told, 0), stored(told, of.grid.voxels))
    assert told["frame_time"] == pytest.approx(0.05) and told["window"] == [0, 1000]
    hole = ~of.known if of.known is not None else None
    assert hole is not None and told["start"] == [int(hole.sum(axis=(1, 2, 3)).argmax()), 2]


def test_other_numbers_are_kept_to_a_65535th_of_their_range() -> None:
    scan = make()
    real = (np.random.default_rng(2).random(scan.shape) * 3e-3 - 1e-3).astype(np.float32)
    of = content(scan, layers=(Layer("scan", real), Layer("far", real * 1e6)))
    told = facts(page(of))
    top = float(np.ptp(np.stack([real, real * 1e6])))
    assert told["layers"][0]["step"] == pytest.approx(top / 65535, rel=1e-6)
    assert_holds(page(of), of)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("mirror", [False, True])
def test_the_patients_left_is_on_the_right_and_places_are_those_of_the_file(swap: bool, mirror: bool) -> None:
    scan = make((1, 1, 32, 48))
    column = np.broadcast_to(np.arange(48), scan.shape)  # blank scans run to the patient's left
    affine, voxels = scan.geometry.affine.copy(), column
    if mirror:
        affine[:3, 3] += affine[:3, 0] * 47
        affine[:3, 0] *= -1
        voxels = voxels[..., ::-1]
    if swap:
        affine, voxels = affine[:, [1, 0, 2, 3]], voxels.swapaxes(-1, -2)
    geometry = replace(scan.geometry, affine=affine, sform=affine[:3])
    turned = replace(scan, stored=np.ascontiguousarray(voxels, np.int16), geometry=geometry)
    of = content(turned)
    told = assert_holds(page(of), of)
    assert np.array_equal(values(told, 0)[0, 0], column[0, 0]) and told["edges"] == pytest.approx([1.4, 2.0])


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 7, 3), (2, 1, 1, 600), (1, 5, 2, 2)])
def test_any_shape_and_constants_can_be_shown(shape: tuple[int, int, int, int]) -> None:
    scan = make(shape)
    flat = np.full(shape, 7.5, np.float32)
    for known in (np.zeros(shape, bool), np.ones(shape, bool)):
        layers = (Layer("scan", flat), Layer("spread", flat * 0, spread=True))
        of = content(scan, layers=layers, known=known, scale=Scale(7.5, 7.5))
        assert (values(assert_holds(page(of), of), 0) == 7.5).all()
    assert facts(page(content(scan, known=None)))["hidden"] is None


@pytest.mark.parametrize("most", [300_000, 100_000, 20_000, 2000, 1])
def test_a_page_is_bounded_and_says_what_it_leaves_out(most: int) -> None:
    scan = make((14, 8, 40, 60))
    of = content(scan)
    whole, data = page(of), page(of, most)
    told = assert_holds(data, of)
    told_whole = len(whole) - sum(len(layer["data"]) for layer in facts(whole)["layers"])
    assert len(data) - told_whole < max(most, 400) < len(whole)
    assert "To keep this page small it shows one " in data.decode() and "To keep this page small" not in whole.decode()
    t, z = (told[name][0] + told[name][1] * told["start"][i] for i, name in enumerate(("phases", "slices")))
    assert (t, z) == start(scan.shape, of.known)


def test_what_is_hidden_stays_in_view() -> None:
    scan = make((4, 3, 100, 120))
    known = np.ones(scan.shape, bool)
    known[2, 1, 40:60, 10:30] = False
    of = content(scan, known=known)
    data = page(of, len(page(of)) // 3)
    told = assert_holds(data, of)
    assert hidden(told).sum() == 400 and told["shape"] == [4, 3, 52, 46]
    assert "To keep this page small it shows the part of each plane around what is hidden." in data.decode()


def test_too_many_voxels_are_too_many_however_well_they_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[page.__module__], "VALUES", 3000)
    scan = replace(make((5, 3, 30, 30)), stored=np.zeros((5, 3, 30, 30), np.int16))
    of = content(scan, known=np.ones(scan.shape, bool), layers=(Layer("scan", scan.voxels),))
    assert np.prod(assert_holds(page(of), of)["shape"]) <= 3000


@pytest.mark.parametrize("shape", [(40, 16, 512, 512), (1, 1, 9, 40000), (3000, 2, 2, 2)])
def test_cuts_grow_smaller_to_a_single_voxel(shape: tuple[int, int, int, int]) -> None:
    found = list(cuts(shape, (8, 0.7, 0.7), None))
    sizes = [np.prod(cut.shape) for cut in found]
    assert found[0].shape == shape and sizes == sorted(sizes, reverse=True) and sizes[-1] == 1
    if shape[0] == 40:  # fine pixels are thinned before phases, these before slices
        assert [cut.shape for cut in found[1:4]] == [(40, 16, 256, 256), (20, 16, 256, 256), (10, 16, 256, 256)]
        assert "one row and column of 2" in found[1].told(shape)


def test_text_stays_text() -> None:
    of = content(make())
    named = replace(
        of, title=HOSTILE, notes=(HOSTILE,), layers=tuple(replace(layer, name=HOSTILE) for layer in of.layers)
    )
    plain, hostile = Elements(page(of)), Elements(page(named))
    tags = [tag for tag, _ in hostile.found]
    tags.remove("li")
    assert tags == [tag for tag, _ in plain.found] and tags.count("script") == 2 and "img" not in tags
    assert facts(page(named))["layers"][0]["name"] == HOSTILE
    assert any("<img src=x" in text for text in hostile.texts["h1"])


def test_a_page_asks_for_nothing() -> None:
    data = page(content(make()))
    found = Elements(data)
    (policy,) = (str(a["content"]) for _, a in found.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';") and "'unsafe-inline'" not in policy.split("script-src")[1]
    asked = {"src", "href", "srcset", "action", "data", "poster", "ping"}
    assert not [a for _, a in found.found if asked & a.keys() or any(k.startswith("on") for k in a)]
    rest = re.sub(rb'id="data">.*?</script>', b"", data, flags=re.DOTALL)
    assert not re.search(rb"https?:|@import|url\(|fetch\(|XMLHttp|WebSocket|innerHTML|eval\(|\0", rest)
    assert len(data) - len(json.dumps(facts(data))) < 40_000  # what is not voxels
