"""A page in a browser without a window, where there is one: its sliders, keys and pictures do what they say."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmrgz.data.intensity import Scale
from cmrgz.data.scan import Scan
from cmrgz.viewer import Content, Layer, page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
HELP = """
const told = {}, $ = (id) => document.getElementById(id);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const set = (id, value) => {
  $(id).value = value;
  $(id).dispatchEvent(new Event("input", { bubbles: true }));
};
const key = (name, more = {}, target = document.body) =>
  target.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true, ...more }));
const shown = () => [...document.querySelectorAll("figure")].filter((each) => !each.hidden);
const point = (row, column) => {
  const canvas = shown()[0].querySelector("canvas"), box = canvas.getBoundingClientRect();
  canvas.dispatchEvent(new PointerEvent("pointermove", {
    clientX: box.left + (column + 0.5) * box.width / canvas.width,
    clientY: box.top + (row + 0.5) * box.height / canvas.height,
  }));
};
const look = (row, column) => ({
  place: $("place").textContent,
  phase: Number($("phase").value), slice: Number($("slice").value),
  values: Object.fromEntries(shown().map((each) =>
    [each.querySelector("b").textContent, each.querySelector("output").textContent])),
  pixels: Object.fromEntries(shown().map((each) => [each.querySelector("b").textContent,
    [...each.querySelector("canvas").getContext("2d").getImageData(column, row, 1, 1).data].slice(0, 3)])),
});
const seen = (element) => element.getClientRects().length > 0;
(async () => {
  for (let i = 0; i < 200 && document.body.dataset.state === "loading"; i++) await wait(20);
  told.state = document.body.dataset.state;
  told.asked = performance.getEntriesByType("resource").length;
  told.title = document.title;
  try { await steps(); } catch (error) { told.error = String(error.stack); }
  const out = document.createElement("pre");
  out.id = "told";
  out.textContent = JSON.stringify(told);
  document.body.append(out);
})();
"""


@pytest.fixture
def browse(tmp_path: Path) -> Callable[[bytes, str], dict[str, Any]]:
    """Return a function that opens a page, runs steps in it and returns what they told."""

    def run(data: bytes, steps: str, fragment: str = "") -> dict[str, Any]:
        script = (
            f"(() => {{ async function steps() {{ {steps} }}\n{HELP} }})();"  # the names of the page are not its own
        )
        allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        text = data.decode().replace("script-src ", f"script-src 'sha256-{allowed}' ")
        stranger = "<script>document.title = 'a stranger was here'</script>"
        (tmp_path / "page.html").write_text(text.replace("</body>", f"{stranger}<script>{script}</script></body>"))
        command = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1000,800",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000", "--dump-dom",
            (tmp_path / "page.html").as_uri() + fragment,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
        assert found, done.stdout[-500:] + done.stderr[-2000:]
        told: dict[str, Any] = json.loads(unescape(found[1]))
        assert "error" not in told, told["error"]
        assert told["state"] == "ready" and told["asked"] == 0 and told["title"] != "a stranger was here"
        return told

    return run


SHAPE = (3, 4, 16, 20)


def content() -> Content:
    rng = np.random.default_rng(0)
    scan = replace(Scan.blank(SHAPE, (8, 1.4, 1.4), 0.05), stored=rng.integers(0, 1000, SHAPE).astype(np.int16))
    known = np.ones(SHAPE, bool)
    known[1, 1:3, 4:12, 4:12] = False
    result = np.where(known, scan.voxels, np.rint(scan.voxels / 2)).astype(np.float32)
    spread = np.where(known, 0, rng.random(SHAPE) * 70).astype(np.float32)
    layers = (Layer("scan", scan.voxels), Layer("result", result), Layer("spread", spread, spread=True))
    return Content("Inpainted scan", scan, (*layers, Layer("sample 1", result, folded=True)), Scale(0.0, 1000.0), known)


TOUR = """
told.first = look(6, 7);
point(6, 7); told.read = look(6, 7);
set("phase", 2); set("slice", 0); told.moved = look(6, 7);
set("level", 250); set("window", 500); told.contrast = look(6, 7);
$("reset").click(); told.reset = look(6, 7);
key("ArrowRight"); key("ArrowUp"); key("ArrowUp"); told.keys = look(6, 7);
key("ArrowLeft"); key("ArrowDown"); told.back = look(6, 7);
key("ArrowRight", {}, $("window")); told.other = look(6, 7);
key("ArrowRight", {}, $("phase")); key("ArrowLeft", {}, $("phase"));
key("ArrowRight", { shiftKey: true }); key("ArrowDown", { shiftKey: true }); told.voxel = look(7, 8);
set("phase", 1); set("slice", 2); point(6, 7);
told.labels = seen($("blend"));
key("b"); set("blend", 0); told.blend0 = look(6, 7);
set("blend", 100); told.blend100 = look(6, 7);
set("blend", 50); told.blend50 = look(6, 7); told.labels_blending = seen($("blend"));
key("m"); told.marked = look(6, 7); key("m");
key("b"); told.side = look(6, 7);
const boxes = [...document.querySelectorAll("#shown input")];
boxes.at(-1).click(); boxes[0].click(); told.chosen = look(6, 7); boxes[0].click();
set("rate", 50); set("phase", 0); key(" ");
const phases = new Set();
for (let i = 0; i < 20; i++) { await wait(10); phases.add($("phase").value); }
told.played = phases.size; told.pressed = $("play").getAttribute("aria-pressed");
key(" "); const at = $("phase").value; await wait(200); told.paused = at === $("phase").value;
told.unnamed = [...document.querySelectorAll("input, select, button")]
  .filter((each) => ![each, ...each.labels].some((named) => named.textContent.trim())).length;
"""
"""Every slider, key and button, what is seen noted after each."""


def test_sliders_keys_and_pointer(browse: Callable[[bytes, str], dict[str, Any]]) -> None:
    of = content()
    told = browse(page(of), TOUR)
    cines = {layer.name: np.asarray(layer.values) for layer in of.layers}

    def grey(value: float, low: float = 0, high: float = 1000) -> float:
        return min(255, max(0, 255 * (value - low) / (high - low)))

    def check(name: str, t: int, z: int, row: int, column: int, low: float = 0, high: float = 1000) -> None:
        seen = told[name]
        hole = of.known is not None and not of.known[t, z, row, column]
        assert (seen["phase"], seen["slice"]) == (t, z), name
        place = f"Phase {t + 1}, slice {z + 1}, row {row}, column {column}" + ", hidden" * hole
        assert seen["place"] == place
        for layer in ("scan", "result"):
            value = float(cines[layer][t, z, row, column])
            assert float(seen["values"][layer]) == value
            assert seen["pixels"][layer] == pytest.approx([grey(value, low, high)] * 3, abs=0.51), name
        spread, most = float(cines["spread"][t, z, row, column]), float(cines["spread"].max())
        assert float(seen["values"]["spread"]) == pytest.approx(spread, abs=most / 500 + 0.01)
        unit = np.clip([3 * spread / most - c for c in range(3)], 0, 1)
        assert seen["pixels"]["spread"] == pytest.approx((255 * unit).tolist(), abs=3)
        tinted = [200, 90, 30] if hole else seen["pixels"]["scan"]
        assert seen["pixels"]["hidden"] == tinted, name

    assert told["first"]["place"] == "Phase 2, slice 3. Point at a picture to read a voxel."
    assert list(told["first"]["values"]) == ["scan", "hidden", "result", "spread"]
    assert (told["first"]["phase"], told["first"]["slice"]) == (1, 2)  # where most is hidden
    check("read", 1, 2, 6, 7)
    check("moved", 2, 0, 6, 7)
    check("contrast", 2, 0, 6, 7, 0, 500)
    check("reset", 2, 0, 6, 7)
    check("keys", 0, 2, 6, 7)  # phases are a ring
    check("back", 2, 1, 6, 7)
    check("other", 2, 1, 6, 7)
    check("voxel", 2, 1, 7, 8)
    check("side", 1, 2, 6, 7)
    scan, result = (float(cines[name][1, 2, 6, 7]) for name in ("scan", "result"))
    assert told["blend50"]["values"] == {"blend": f"{scan:g} | {result:g}"}
    for name, share in (("blend0", 0.0), ("blend50", 0.5), ("blend100", 1.0)):
        level = grey(scan + share * (result - scan))
        assert told[name]["pixels"]["blend"] == pytest.approx([level] * 3, abs=1.1), name
    assert told["marked"]["pixels"]["blend"][0] > told["marked"]["pixels"]["blend"][2]
    assert (told["labels"], told["labels_blending"]) == (False, True)
    assert list(told["chosen"]["values"]) == ["hidden", "result", "spread", "sample 1"]
    assert told["played"] == 3 and told["pressed"] == "true" and told["paused"] and told["unnamed"] == 0


def test_a_single_frame_has_no_sliders_of_one_step(browse: Callable[[bytes, str], dict[str, Any]]) -> None:
    stored = np.arange(48, dtype=np.int16).reshape(1, 1, 6, 8)
    scan = replace(Scan.blank((1, 1, 6, 8), (8, 1.4, 1.4)), stored=stored)
    told = browse(
        page(
            Content(
                "</script><script>document.title='bad'</script>", scan, (Layer("<b>scan", scan.voxels),), Scale(0, 47)
            )
        ),
        """
        const ids = ["phase", "slice", "blend", "level", "window", "rate", "play", "mode", "mark", "shown"];
        told.seen = Object.fromEntries(ids.map((id) => [id, seen($(id))]));
        for (const name of ["ArrowLeft", "ArrowUp", " ", "b", "m", "+", "-"]) key(name);
        point(5, 7); told.read = look(5, 7);
        """,
    )
    assert [name for name, seen in told["seen"].items() if seen] == ["level", "window"]
    assert told["read"]["values"] == {"<b>scan": "47"} and told["read"]["pixels"] == {"<b>scan": [255, 255, 255]}
    assert told["title"].startswith("</script>")


def test_a_link_opens_its_place_and_steps_have_names(browse: Callable[..., dict[str, Any]]) -> None:
    data = page(replace(content(), axes=("mask", "frame"), steps=(("a", "b", "<c>"), ())))
    steps = """
        told.seen = look(0, 0); told.words = document.querySelector("footer").textContent;
        document.documentElement.style.width = "420px";
        dispatchEvent(new Event("resize"));
        const boxes = [...document.querySelectorAll("body *")].map((each) => each.getBoundingClientRect());
        told.right = Math.max(...boxes.map((box) => box.right));
        told.tops = shown().map((each) => Math.round(each.getBoundingClientRect().top));
    """
    told = browse(data, steps, "#2.9")
    assert told["right"] <= 420 and len(set(told["tops"])) == 2  # on a telephone: two pictures a row, none cut off
    assert told["seen"]["place"].startswith("Mask 3: <c>, frame 4. ") and "mask" in told["words"]
