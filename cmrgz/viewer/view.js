"use strict";
// One page of cines on one grid. Voxels are whole numbers, value = low + step * number; planes are turned already.

const page = JSON.parse(document.getElementById("data").textContent);
const [T, Z, H, W] = page.shape;
const TINT = [200, 90, 30];
const SIZE = 4;  // of the pictures at first
const byId = (id) => document.getElementById(id);
const clamp = (n, low, high) => Math.min(high, Math.max(low, n));
const controls = {};
for (const id of ["phase", "slice", "blend", "level", "window", "rate", "size", "from", "to", "mark", "smooth"]) {
  controls[id] = byId(id);
}
const number = (id) => Number(controls[id].value);
const state = { blending: false, timer: 0, at: [Math.floor(H / 2), Math.floor(W / 2)], read: false };
const grey = page.layers.filter((layer) => !layer.spread);
const [BLACK, WHITE] = page.window[1] > page.window[0] ? page.window : [page.window[0] - 1, page.window[0] + 1];
let hidden = null;
let panels = [];

// ---------------------------------------------------------------------- voxels
async function inflated(text) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function unpack() {
  for (const layer of page.layers) {
    const bytes = await inflated(layer.data);
    const base = layer.base === null ? null : page.layers[layer.base].numbers;
    const n = bytes.length / 2, phase = n / T, numbers = new Uint16Array(n);
    for (let i = 0; i < n; i++) {
      const folded = bytes[i] | (bytes[n + i] << 8);
      numbers[i] = ((folded >>> 1) ^ -(folded & 1)) + (base ? base[i] : i < phase ? 0 : numbers[i - phase]);
    }
    layer.numbers = numbers;
    layer.data = null;
  }
  hidden = page.hidden === null ? null : await inflated(page.hidden);
}

const first = () => (number("phase") * Z + number("slice")) * H * W;
const isHidden = (i) => hidden !== null && (hidden[i >> 3] & (128 >> (i & 7))) !== 0;

function told(layer, row, column) {
  const value = layer.low + layer.step * layer.numbers[first() + row * W + column];
  return layer.step === 1 ? String(value) : String(Number(value.toPrecision(4)));
}

/** Tell from where to where the colours of a spread run. */
const range = (layer) => (layer.spread ? `0 .. ${Number((255 * layer.step).toPrecision(3))}` : "");

// ---------------------------------------------------------------------- colours
function shades(layer) {
  const low = layer.spread ? 0 : number("level") - number("window") / 2;
  const width = layer.spread ? layer.step * 255 : number("window");
  return (n) => clamp((layer.low + layer.step * n - low) / width, 0, 1);
}

function paint(layer, out, marked) {
  const shade = shades(layer), start = first();
  for (let i = 0, o = 0; i < H * W; i++, o += 4) {
    const u = shade(layer.numbers[start + i]);
    const tinted = marked && isHidden(start + i);
    for (let c = 0; c < 3; c++) {
      out[o + c] = tinted ? TINT[c] : 255 * (layer.spread ? clamp(3 * u - c, 0, 1) : u);
    }
    out[o + 3] = 255;
  }
}

function mixed(out, marked) {
  const a = new Uint8ClampedArray(out.length), share = number("blend") / 100;
  paint(page.layers[number("from")], a, false);
  paint(page.layers[number("to")], out, false);
  for (let i = 0; i < out.length; i++) {
    out[i] = a[i] + share * (out[i] - a[i]);
    if (marked && i % 4 < 3 && isHidden(first() + (i >> 2))) out[i] = 0.65 * out[i] + 0.35 * TINT[i % 4];
  }
}

// ---------------------------------------------------------------------- panels
function element(tag, text = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

/** Make a picture: its name, the layers whose values it tells, how it is painted. */
function panel(name, layers, fill, folded = false) {
  const figure = element("figure"), frame = element("div"), canvas = element("canvas"), cross = element("div");
  const caption = element("figcaption"), value = element("output");
  Object.assign(canvas, { width: W, height: H });
  canvas.style.aspectRatio = `${W * page.edges[1]} / ${H * page.edges[0]}`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", name);
  frame.className = "frame";
  cross.className = "cross";
  caption.append(element("b", name), value);
  frame.append(canvas, cross);
  figure.append(frame, caption);
  canvas.addEventListener("pointermove", (event) => point(event, canvas));
  canvas.addEventListener("pointerdown", (event) => point(event, canvas));
  const context = canvas.getContext("2d"), image = context.createImageData(W, H);
  const draw = () => { fill(image.data); context.putImageData(image, 0, 0); };
  return { name, figure, canvas, cross, value, layers, draw, wanted: !folded };
}

function makePanels() {
  panels = page.layers.map((layer) =>
    panel(layer.name, () => [layer], (out) => paint(layer, out, controls.mark.checked && !layer.spread), layer.folded));
  if (hidden !== null) {
    panels.splice(1, 0, panel("hidden", () => [], (out) => paint(grey[0], out, true)));
  }
  const two = () => [page.layers[number("from")], page.layers[number("to")]];
  panels.push({ ...panel("blend", two, (out) => mixed(out, controls.mark.checked)), blend: true });
  byId("panels").append(...panels.map((each) => each.figure));
  for (const each of panels.filter((one) => !one.blend)) {
    const label = element("label"), box = Object.assign(element("input"), { type: "checkbox", checked: each.wanted });
    box.addEventListener("change", () => { each.wanted = box.checked; draw(); });
    label.append(box, ` ${each.name}`);
    byId("shown").append(label);
  }
}

// ---------------------------------------------------------------------- what is seen
function draw() {
  const blending = state.blending;
  const shown = panels.filter((each) => (blending ? each.blend : each.wanted && !each.blend));
  for (const each of panels) each.figure.hidden = !shown.includes(each);
  for (const each of shown) each.draw();
  arrange(shown.length);
  for (const id of ["from", "to"]) label(id).hidden = !blending;
  label("blend").hidden = !blending;
  byId("shown").hidden = blending || panels.length < 3;
  tell();
}

/** Show as many pictures in a row as there are and the width holds; the size makes them fewer and larger. */
function arrange(count) {
  const width = byId("panels").clientWidth || 1, aspect = (W * page.edges[1]) / (H * page.edges[0]);
  const usual = Math.min(260, 0.47 * width) * 1.3 ** (number("size") - SIZE) * (state.blending ? 2 : 1);
  const fit = clamp(Math.floor(width / Math.min(usual, 0.75 * innerHeight * aspect)), 1, 16);
  byId("panels").style.setProperty("--columns", state.blending ? fit : Math.min(fit, Math.max(count, 2)));
}

function tell() {
  const t = page.phases[0] + page.phases[1] * number("phase"), z = page.slices[0] + page.slices[1] * number("slice");
  const time = page.frame_time === null ? "" : `, ${Math.round(1000 * t * page.frame_time)} ms`;
  write("phase", `${t + 1} of ${page.full[0]}${time}${name(0, t)}`);
  write("slice", `${z + 1} of ${page.full[1]}${name(1, z)}`);
  for (const id of ["level", "window"]) write(id, String(Number(number(id).toPrecision(4))));
  write("blend", `${number("blend")} %`);
  write("rate", `${number("rate")} a second`);
  write("size", String(number("size")));
  tellVoxel(t, z);
}

function tellVoxel(t, z) {
  const [row, column] = state.at;
  const stored = [page.rows[0] + page.rows[1] * row, page.columns[0] + page.columns[1] * column];
  const [y, x] = page.swap ? stored.reverse() : stored;
  const where = isHidden(first() + row * W + column) ? ", hidden" : "";
  const voxel = state.read ? `, row ${y}, column ${x}${where}` : ". Point at a picture to read a voxel.";
  byId("place").textContent =
    `${capital(page.axes[0])} ${t + 1}${name(0, t)}, ${page.axes[1]} ${z + 1}${name(1, z)}${voxel}`;
  for (const each of panels) {
    each.value.textContent = each.layers().map((layer) => (state.read ? told(layer, row, column) : range(layer))).join(" | ");
    each.cross.hidden = !state.read;
    Object.assign(each.cross.style, {
      left: `${(100 * column) / W}%`, top: `${(100 * row) / H}%`, width: `${100 / W}%`, height: `${100 / H}%`,
    });
  }
}

const name = (axis, step) => (page.steps[axis].length ? `: ${page.steps[axis][step]}` : "");
const capital = (word) => word[0].toUpperCase() + word.slice(1);

function write(id, text) {
  label(id).querySelector("output").textContent = text;
  controls[id].setAttribute("aria-valuetext", text);
}

const label = (id) => document.querySelector(`[data-for="${id}"]`);

// ---------------------------------------------------------------------- what is done
function point(event, canvas) {
  const box = canvas.getBoundingClientRect();
  const row = Math.floor((H * (event.clientY - box.top)) / box.height);
  const column = Math.floor((W * (event.clientX - box.left)) / box.width);
  move(row - state.at[0], column - state.at[1]);
}

function move(rows, columns) {
  state.at = [clamp(state.at[0] + rows, 0, H - 1), clamp(state.at[1] + columns, 0, W - 1)];
  state.read = true;
  tell();
}

function step(id, by, round = false) {
  const n = { phase: T, slice: Z }[id];
  controls[id].value = round ? (number(id) + by + n) % n : clamp(number(id) + by, 0, n - 1);
  draw();
}

function play(on) {
  clearInterval(state.timer);
  state.timer = on && T > 1 ? setInterval(() => step("phase", 1, true), 1000 / number("rate")) : 0;
  byId("play").textContent = state.timer ? "Pause" : "Play";
  byId("play").setAttribute("aria-pressed", String(state.timer !== 0));
}

function blend(on) {
  state.blending = on && page.layers.length > 1;
  byId("mode").textContent = state.blending ? "Side by side" : "Blend two";
  byId("mode").setAttribute("aria-pressed", String(state.blending));
  draw();
}

function resize(by) {
  controls.size.value = number("size") + by;
  draw();
}

const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const KEYS = {
  ArrowLeft: () => step("phase", -1, true),
  ArrowRight: () => step("phase", 1, true),
  ArrowUp: () => step("slice", 1),
  ArrowDown: () => step("slice", -1),
  " ": () => play(!state.timer),
  b: () => blend(!state.blending),
  m: () => { controls.mark.checked = !controls.mark.checked; draw(); },
  "+": () => resize(1),
  "=": () => resize(1),
  "-": () => resize(-1),
};

function key(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const own = event.target.closest?.("input, select, button") ?? null;  // what it does with a key by itself stays so
  const moves = own !== null && own !== controls.phase && own !== controls.slice;
  if (moves && (event.key === " " || event.key.startsWith("Arrow"))) return;
  const act = event.shiftKey && MOVES[event.key] ? () => move(...MOVES[event.key]) : KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function reset() {
  controls.level.value = (BLACK + WHITE) / 2;
  controls.window.value = WHITE - BLACK;
  controls.size.value = SIZE;
  draw();
}

// ---------------------------------------------------------------------- start
function setUp() {
  const whole = WHITE - BLACK;
  ["phase", "slice"].forEach((id, axis) => {
    label(id).querySelector("span").textContent = capital(page.axes[axis]);
    document.querySelector(`footer .${"tz"[axis]}`).textContent = page.axes[axis];
  });
  const [t, z] = /^#\d+\.\d+$/.test(location.hash) ? location.hash.slice(1).split(".") : page.start;  // of a link
  Object.assign(controls.phase, { max: T - 1, value: t });
  Object.assign(controls.slice, { max: Z - 1, value: z });
  Object.assign(controls.level, { min: BLACK - whole / 2, max: WHITE + whole / 2, step: whole / 500 });
  Object.assign(controls.window, { min: whole / 100, max: 2 * whole, step: whole / 500 });
  const seconds = page.frame_time === null ? 1 / T : page.frame_time * page.phases[1];
  controls.rate.value = Math.round(1 / seconds);
  for (const id of ["from", "to"]) {
    controls[id].append(...page.layers.map((layer, i) => Object.assign(element("option", layer.name), { value: i })));
  }
  controls.to.value = Math.min(1, page.layers.length - 1);
  label("phase").hidden = label("rate").hidden = byId("play").hidden = T === 1;
  label("slice").hidden = Z === 1;
  byId("mode").hidden = page.layers.length === 1;
  label("mark").hidden = hidden === null;
}

function listen() {
  for (const control of Object.values(controls)) control.addEventListener("input", draw);
  controls.rate.addEventListener("input", () => play(state.timer !== 0));
  controls.smooth.addEventListener("input", () => byId("panels").classList.toggle("smooth", controls.smooth.checked));
  byId("play").addEventListener("click", () => play(!state.timer));
  byId("mode").addEventListener("click", () => blend(!state.blending));
  byId("reset").addEventListener("click", reset);
  addEventListener("keydown", key);
  addEventListener("resize", draw);
}

unpack().then(() => {
  setUp();
  makePanels();
  listen();
  document.body.dataset.state = "ready";
  reset();
}).catch((error) => {
  document.body.dataset.state = "failed";
  byId("message").textContent = `This page cannot be shown: a newer browser is needed (${error.message}).`;
});
