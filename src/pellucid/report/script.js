"use strict";
(() => {
// Sliders and switches: one per map, and one pair that moves them all. A click enlarges a map; values then stand below.
const cards = [...document.querySelectorAll(".card")];
const controls = document.querySelector(".controls");
const folds = [...document.querySelectorAll(".fold")];

function fade(slider) {
  slider.closest(".card, .controls").style.setProperty("--heat", slider.value / 100);
  slider.setAttribute("aria-valuetext", slider.value + " percent");
}

function show(owner, view) {
  const radios = [...owner.querySelectorAll("input[type=radio]")];
  if (view && !radios.some((radio) => radio.value === view)) return;
  for (const radio of radios) radio.checked = radio.value === view;
}

function viewOf(card) {
  return card.querySelector("input[type=radio]:checked").value;
}

function agree() {
  const views = new Set(cards.map(viewOf));
  show(controls, views.size === 1 ? [...views][0] : "");
}

for (const card of cards) {
  const slider = card.querySelector("input[type=range]");
  slider.addEventListener("input", () => fade(slider));
  card.addEventListener("change", agree);
  card.querySelector(".enlarge").addEventListener("click", () => enlarge(card));
  for (const stage of card.querySelectorAll(".stage")) stage.addEventListener("click", () => enlarge(card));
  fade(slider);
}

controls.addEventListener("input", (event) => {
  for (const card of cards) {
    if (event.target.type === "radio") {
      show(card, event.target.value);
    } else {
      const slider = card.querySelector("input[type=range]");
      slider.value = event.target.value;
      fade(slider);
    }
  }
  if (event.target.type === "range") fade(event.target);
});
controls.addEventListener("submit", (event) => event.preventDefault());
fade(controls.querySelector("input[type=range]"));

// --- folded pictures: links open them, and print shows all ---------------------------------------------------------

function openTarget() {
  const fold = document.getElementById(location.hash.slice(1))?.querySelector(".fold");
  if (fold) fold.open = true;
}
addEventListener("hashchange", openTarget);
openTarget();
controls.querySelector(".unfold")?.addEventListener("click", (event) => {
  const all = folds.every((fold) => fold.open);
  for (const fold of folds) fold.open = !all;
  event.target.textContent = all ? "Open all pictures" : "Close all pictures";
});
let closed = [];
addEventListener("beforeprint", () => {
  closed = folds.filter((fold) => !fold.open);
  for (const fold of closed) fold.open = true;
});
addEventListener("afterprint", () => { for (const fold of closed) fold.open = false; });

// --- one map, enlarged ---------------------------------------------------------------------------------------------

const large = document.querySelector(".large");
const field = large.querySelector(".field");
const reading = large.querySelector("output");
let shown = null; // the card
let steps = null; // the map's pixels, each the number of its colour: {width, height, at}
let point = null; // in shares of the map, from its left and top

function enlarge(card) {
  shown = card;
  const view = card.querySelector(".view." + viewOf(card));
  large.querySelector("b").textContent = card.querySelector("h4").firstChild.textContent.trim() + ", " + viewOf(card);
  large.querySelector(".about").textContent = card.dataset.about;
  const stage = view.querySelector(".stage").cloneNode(true);
  const mark = document.createElementNS("http://www.w3.org/2000/svg", "path");
  mark.setAttribute("class", "point");
  stage.append(mark);
  const scale = view.querySelector(".scale, p").cloneNode(true);
  field.replaceChildren(stage, scale);
  field.style.setProperty("--heat", getComputedStyle(card).getPropertyValue("--heat"));
  stage.addEventListener("pointermove", (event) => under(event));
  stage.addEventListener("pointerdown", (event) => under(event));
  stage.addEventListener("pointerleave", () => { if (!keyed) read(null); });
  steps = null;
  const map = mapOf(stage);
  if (map) {
    const card = shown;
    pixels(map.getAttribute("href")).then((found) => { if (shown === card) { steps = found; read(point); } });
  }
  if (!large.open) large.showModal();
  field.focus({preventScroll: true});
  read(point);
}

function mapOf(stage) {
  return stage.querySelector("image.heat, image.map");
}

function boxOf(image) {
  return Object.fromEntries(["x", "y", "width", "height"].map((name) => [name, Number(image.getAttribute(name))]));
}

let keyed = false; // whether the point was moved by keys, and stays when the pointer leaves
function under(event) {
  const stage = field.querySelector(".stage");
  const map = mapOf(stage);
  if (!map) return;
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(stage.getScreenCTM().inverse());
  const box = boxOf(map);
  keyed = false;
  read({x: (at.x - box.x) / box.width, y: (at.y - box.y) / box.height});
}

function read(at) {
  point = at;
  const stage = field.querySelector(".stage");
  const mark = stage.querySelector(".point");
  mark.setAttribute("d", "");
  reading.textContent = "";
  if (!steps || !at) {
    if (steps) reading.textContent = "Point at the map to read its values.";
    return;
  }
  if (at.x < 0 || at.x >= 1 || at.y < 0 || at.y >= 1) {
    reading.textContent = "The model did not look there.";
    return;
  }
  const column = Math.floor(at.x * steps.width), row = Math.floor(at.y * steps.height);
  const {limit, signed} = field.querySelector(".scale").dataset;
  const share = steps.at(row, column) / 254; // the table of colours has 255
  const value = Number(limit) * (signed === "1" ? 2 * share - 1 : share);
  const ends = share === 1 || (signed === "1" && share === 0);
  reading.textContent = `row ${row}, column ${column}: ${said(value)}${ends ? " or beyond" : ""}`;
  const box = boxOf(mapOf(stage));
  const x = box.x + (column + .5) / steps.width * box.width, y = box.y + (row + .5) / steps.height * box.height;
  const arm = Math.max(box.width, box.height) / 40;
  mark.setAttribute("d", `M${x - arm} ${y}h${2 * arm}M${x} ${y - arm}v${2 * arm}`);
}

function said(value) {
  return (Math.abs(value) < 1e-12 ? "0" : value.toPrecision(3)).replace("-", "−");
}

// The pixels of a paletted PNG, by the numbers of their colours: what a canvas would give are the colours alone.
async function pixels(uri) {
  const file = Uint8Array.from(atob(uri.slice(uri.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
  const data = new DataView(file.buffer);
  const parts = [];
  let width = 0, height = 0, bits = 8;
  for (let at = 8; at < file.length;) {
    const length = data.getUint32(at), kind = String.fromCharCode(...file.subarray(at + 4, at + 8));
    if (kind === "IHDR") [width, height, bits] = [data.getUint32(at + 8), data.getUint32(at + 12), file[at + 16]];
    if (kind === "IDAT") parts.push(file.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const raw = new Uint8Array(await new Response(stream).arrayBuffer());
  const line = Math.ceil(width * bits / 8);
  const rows = new Uint8Array(line * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (line + 1)];
    for (let i = 0; i < line; i++) {
      const left = i ? rows[y * line + i - 1] : 0, up = y ? rows[(y - 1) * line + i] : 0;
      const corner = i && y ? rows[(y - 1) * line + i - 1] : 0;
      const [a, b, c] = [left, up, corner].map((value) => Math.abs(left + up - corner - value));
      const paeth = a <= b && a <= c ? left : b <= c ? up : corner;
      const before = [0, left, up, (left + up) >> 1, paeth][filter];
      rows[y * line + i] = raw[y * (line + 1) + 1 + i] + before;
    }
  }
  const mask = (1 << bits) - 1;
  const at = (row, column) => {
    const bit = column * bits;
    return (rows[row * line + (bit >> 3)] >> (8 - bits - (bit & 7))) & mask;
  };
  return {width, height, at};
}

// The enlarged map as a picture of its own: everything it refers to is put inside.
async function picture() {
  const stage = field.querySelector(".stage").cloneNode(true);
  stage.querySelector(".point").remove();
  const [, , width, height] = stage.getAttribute("viewBox").split(" ").map(Number);
  const longer = Math.max(width, height), by = Math.max(1, Math.ceil(1000 / longer));
  stage.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  stage.setAttribute("width", width * by);
  stage.setAttribute("height", height * by);
  const live = field.querySelectorAll(".stage *"), copied = stage.querySelectorAll("*");
  const looks = ["opacity", "mix-blend-mode", "image-rendering", "fill", "fill-opacity", "stroke", "stroke-width",
    "stroke-opacity", "vector-effect", "paint-order", "text-anchor", "font-family", "font-weight", "font-size"];
  copied.forEach((element, i) => {
    const style = getComputedStyle(live[i]);
    element.setAttribute("style", looks.map((name) => `${name}:${style.getPropertyValue(name)}`).join(";"));
  });
  for (const use of stage.querySelectorAll("use")) {
    const image = document.querySelector(use.getAttribute("href")).cloneNode(true);
    if (use.getAttribute("filter")) image.setAttribute("filter", use.getAttribute("filter"));
    if (image.matches(".cells")) image.setAttribute("style", "image-rendering:pixelated");
    use.replaceWith(image);
  }
  stage.prepend(...[...document.querySelectorAll("svg.defs filter")].map((filter) => filter.cloneNode(true)));
  const drawn = new Image();
  drawn.src = "data:image/svg+xml;base64," + btoa(unescape(encodeURIComponent(new XMLSerializer().serializeToString(stage))));
  await drawn.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width * by, height * by];
  canvas.getContext("2d").drawImage(drawn, 0, 0, canvas.width, canvas.height);
  return canvas;
}

async function download() {
  const name = `${shown.dataset.file}.${viewOf(shown)}.png`.replace(/[^\w.+=-]+/g, "_");
  const canvas = await picture();
  const link = document.createElement("a");
  link.download = name;
  link.href = canvas.toDataURL("image/png");
  link.click();
}

function turn(by) {
  const near = cards.filter((card) => card.getClientRects().length || card === shown);
  enlarge(near[(near.indexOf(shown) + by + near.length) % near.length]);
}

function shut() {
  large.close();
  shown?.querySelector(".enlarge").focus();
}

large.querySelector(".close").addEventListener("click", shut);
large.querySelector(".back").addEventListener("click", () => turn(-1));
large.querySelector(".on").addEventListener("click", () => turn(1));
large.querySelector(".download").addEventListener("click", download);
large.addEventListener("click", (event) => { if (event.target === large) shut(); });
large.addEventListener("close", () => shown?.querySelector(".enlarge").focus());
large.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const moves = {w: [0, -1], a: [-1, 0], s: [0, 1], d: [1, 0]};
  const views = {o: "overlay", r: "raw", e: "error"};
  if (key === "ArrowLeft" || key === "ArrowRight") {
    turn(key === "ArrowLeft" ? -1 : 1);
  } else if (key in moves && steps) {
    const [x, y] = moves[key], at = point ?? {x: .5, y: .5};
    const inside = (value) => Math.min(.999999, Math.max(0, value));
    keyed = true;
    read({x: inside(at.x + x / Math.min(steps.width, 56)), y: inside(at.y + y / Math.min(steps.height, 56))});
  } else if (key in views) {
    show(shown, views[key]);
    agree();
    enlarge(shown);
  } else {
    return;
  }
  event.preventDefault();
});
// What lies in a folded picture is drawn when it is opened.
function onceOpen(section, start) {
  const fold = section.closest(".fold");
  if (!fold || fold.open) start();
  else fold.addEventListener("toggle", start, {once: true});
}

// --- the verdict: a scoreboard to sort ------------------------------------------------------------------------------

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const other = {ascending: "descending", descending: "ascending"};
      const order = other[head.getAttribute("aria-sort")] ?? head.dataset.first;
      for (const one of heads) one.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      body.append(...[...body.rows].sort((a, b) => compare(a, b, column, order === "ascending" ? 1 : -1)));
    });
  });
}

function compare(a, b, column, sign) {
  const [x, y] = [a, b].map((row) => row.cells[column].dataset.value);
  if (x === "" || y === "") return (x === "") - (y === ""); // what is not known comes last, whichever way
  return sign * (column ? x - y : x.localeCompare(y));
}

for (const table of document.querySelectorAll(".scoreboard")) sortable(table);

// --- the interventions, one by one ----------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";

function drawn(name, attributes, parent, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent?.append(element);
  return element;
}

function ticks(low, high) {
  const rough = (high - low) / 4 || 1, ten = 10 ** Math.floor(Math.log10(rough));
  const step = ten * ([1, 2, 2.5, 5].find((by) => by * ten >= rough) ?? 10);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(k * step);
  return found;
}

function short(value) {
  return (Math.abs(value) < 1e-12 ? "0" : String(Number(value.toPrecision(3)))).replace("-", "−");
}

function place(n) {
  const last = n % 100 > 10 && n % 100 < 14 ? 0 : n % 10;
  return n + (["th", "st", "nd", "rd"][last] ?? "th");
}

// The place of each value, 1 the largest; equal values share theirs.
function places(values) {
  const sorted = [...values].sort((a, b) => b - a);
  return values.map((value) => sorted.indexOf(value) + 1);
}

function explore(section, verdict) {
  const {grid, hidden, replacement, drop, span} = verdict.interventions;
  const select = section.querySelector("select"), plot = section.querySelector(".plot");
  const cover = section.querySelector(".cover"), output = section.querySelector("output");
  const kinds = [...section.querySelectorAll(".kinds li")].map((one) => one.textContent);
  const shapes = [...section.querySelectorAll(".kinds path")].map((one) => one.getAttribute("d"));
  const width = 380, height = 300, left = 46, right = 10, top = 30, bottom = 40;
  const actual = places(drop);
  let chosen = actual.indexOf(1), foretold = [], marks = [], at = [];
  cover.setAttribute("viewBox", `0 0 ${grid.columns} ${grid.rows}`);

  function draw() {
    const map = verdict.maps[select.value], {predicted} = map;
    foretold = places(predicted);
    const most = Math.max(...predicted) || 1, low = Math.min(0, ...drop), high = Math.max(...drop, low + 1e-12);
    const x = (value) => left + value / most * (width - left - right);
    const y = (value) => top + (high - value) / (high - low) * (height - top - bottom);
    const svg = drawn("svg", {viewBox: `0 0 ${width} ${height}`, role: "listbox",
      "aria-label": `Predicted and actual falls, ${map.title}`});
    const axes = drawn("g", {"aria-hidden": true}, svg);
    for (const tick of ticks(low, high)) {
      drawn("path", {class: tick ? "grid" : "grid zero", d: `M${left} ${y(tick)}H${width - right}`}, axes);
      drawn("text", {x: left - 6, y: y(tick), dy: ".35em", "text-anchor": "end"}, axes, short(tick));
    }
    for (const tick of ticks(0, most)) {
      drawn("text", {x: x(tick), y: height - bottom + 16, "text-anchor": "middle"}, axes, short(tick));
    }
    drawn("text", {x: width - right, y: height - 6, "text-anchor": "end"}, axes, "predicted fall, in units of the map →");
    drawn("text", {x: 2, y: 12}, axes, "↑ actual fall of the score");
    at = predicted.map((value, i) => [x(value), y(drop[i])]);
    marks = at.map(([across, down], i) => {
      const mark = drawn("path", {class: `mark k${replacement[i]}`, d: shapes[replacement[i]], role: "option",
        transform: `translate(${across.toFixed(1)} ${down.toFixed(1)})`, tabindex: -1, "aria-selected": false,
        "aria-label": said(map, i)}, svg);
      mark.addEventListener("focus", () => choose(i));
      return mark;
    });
    svg.addEventListener("click", (event) => {
      const to = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const far = at.map(([across, down]) => Math.hypot(across - to.x, down - to.y));
      marks[far.indexOf(Math.min(...far))].focus({preventScroll: true});
    });
    svg.addEventListener("keydown", (event) => {
      const [axis, by] = {ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [1, -1], ArrowDown: [1, 1]}[event.key] ?? [];
      if (by === undefined) return;
      event.preventDefault();
      const order = at.map((_, i) => i).sort((a, b) => at[a][axis] - at[b][axis]);
      const next = order[order.indexOf(chosen) + by];
      if (next !== undefined) marks[next].focus({preventScroll: true});
    });
    plot.replaceChildren(svg);
    choose(chosen);
  }

  function said(map, i) {
    const cells = hidden[i].reduce((sum, [start, stop]) => sum + stop - start, 0);
    const share = Math.max(1, Math.round(100 * cells / (grid.rows * grid.columns)));
    const whole = span > 0 ? `, ${Math.round(100 * drop[i] / span)} % of what hiding everything costs`.replace("-", "−") : "";
    return `${share} % hidden behind ${kinds[replacement[i]]}. Predicted fall ${short(map.predicted[i])}, the ${place(foretold[i])} `
      + `of ${drop.length}. Actual fall ${short(drop[i])}, the ${place(actual[i])}${whole}.`;
  }

  function choose(i) {
    marks[chosen].setAttribute("tabindex", -1);
    marks[chosen].setAttribute("aria-selected", false);
    chosen = i;
    marks[i].setAttribute("tabindex", 0);
    marks[i].setAttribute("aria-selected", true);
    output.textContent = marks[i].getAttribute("aria-label");
    cover.firstElementChild.setAttribute("d", hidden[i].flatMap(([start, stop]) => rows(start, stop)).join(""));
  }

  // A run of cells may go over the end of a row.
  function rows(start, stop) {
    const found = [];
    while (start < stop) {
      const row = Math.floor(start / grid.columns), end = Math.min(stop, (row + 1) * grid.columns);
      found.push(`M${start - row * grid.columns} ${row}h${end - start}v1h${start - end}z`);
      start = end;
    }
    return found;
  }

  const best = verdict.maps.findIndex((map) => map.title === verdict.recommended);
  select.value = Math.max(0, best);
  select.addEventListener("change", draw);
  draw();
}

// --- deletion and insertion, with the altered picture ---------------------------------------------------------------

// Means of 51 by 51 pixels, mirrored at the edges: next to the blur that the model was shown.
function smooth(pixels, columns, rows) {
  const made = Float32Array.from(pixels);
  const along = (count, lines, step, next) => {
    const radius = Math.min(25, count - 1), line = new Float32Array(count);
    const inside = (i) => i < 0 ? -i : i >= count ? 2 * count - 2 - i : i;
    for (let k = 0; k < lines; k++) for (let c = 0; c < 3; c++) {
      const at = (i) => 4 * (k * next + inside(i) * step) + c;
      let sum = 0;
      for (let i = -radius; i <= radius; i++) sum += made[at(i)];
      for (let i = 0; i < count; i++) {
        line[i] = sum / (2 * radius + 1);
        sum += made[at(i + radius + 1)] - made[at(i - radius)];
      }
      for (let i = 0; i < count; i++) made[at(i)] = line[i];
    }
  };
  along(columns, rows, 1, columns);
  along(rows, columns, columns, 1);
  return made;
}

async function follow(section, curves) {
  const select = section.querySelector("select"), slider = section.querySelector("input");
  const canvases = [...section.querySelectorAll("canvas")], captions = [...section.querySelectorAll("figcaption")];
  const plot = section.querySelector(".plot"), box = section.dataset.box.split(" ").map(Number);
  const photograph = document.getElementById(section.dataset.photo), image = new Image();
  const width = 340, height = 240, left = 40, right = 20, top = 28, bottom = 38;
  const names = ["deletion", "insertion"];
  image.src = photograph.getAttribute("href");
  await image.decode();
  let curve, parts, seen, blurred, dots = [], line, x, y, turn = 0;

  // What the model saw, in its own pixels.
  function taken(columns, rows) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [columns, rows];
    const by = columns / (box[2] - box[0]), down = rows / (box[3] - box[1]);
    canvas.getContext("2d").drawImage(image, -box[0] * by, -box[1] * down,
      photograph.getAttribute("width") * by, photograph.getAttribute("height") * down);
    return canvas.getContext("2d").getImageData(0, 0, columns, rows).data;
  }

  async function draw() {
    const mine = ++turn, next = curves[select.value], found = await pixels(next.parts);
    if (mine !== turn) return; // another map was chosen meanwhile
    curve = next;
    parts = Uint8Array.from({length: found.width * found.height},
      (_, i) => found.at(Math.floor(i / found.width), i % found.width));
    for (const canvas of canvases) [canvas.width, canvas.height] = [found.width, found.height];
    seen = taken(found.width, found.height);
    blurred = smooth(seen, found.width, found.height);
    const last = curve.deletion.length - 1, all = [...curve.deletion, ...curve.insertion];
    // A target of one's own gives any number, whatever the output is.
    const bounded = curve.output === "probability" && all.every((value) => value >= 0 && value <= 1);
    const low = bounded ? 0 : Math.min(...all), high = bounded ? 1 : Math.max(...all, low + 1e-12);
    x = (step) => left + step / last * (width - left - right);
    y = (value) => top + (high - value) / (high - low) * (height - top - bottom);
    const svg = drawn("svg", {viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `Deletion and insertion, ${curve.title}`});
    for (const tick of ticks(low, high)) {
      drawn("path", {class: "grid", d: `M${left} ${y(tick)}H${width - right}`}, svg);
      drawn("text", {x: left - 6, y: y(tick), dy: ".35em", "text-anchor": "end"}, svg, short(tick));
    }
    for (const share of [0, .25, .5, .75, 1]) {
      drawn("text", {x: x(share * last), y: height - bottom + 16, "text-anchor": "middle"}, svg, `${100 * share} %`);
    }
    drawn("text", {x: 2, y: 12}, svg, `↑ ${bounded || curve.output !== "probability" ? curve.output : "score"}`);
    drawn("text", {x: width - right, y: height - 6, "text-anchor": "end"}, svg, "pixels altered →");
    line = drawn("path", {class: "at"}, svg);
    dots = names.map((name) => {
      drawn("polyline", {class: name, points: curve[name].map((value, i) => `${x(i)},${y(value)}`).join(" ")}, svg);
      return drawn("circle", {class: name, r: 4}, svg);
    });
    const under = (event) => {
      const to = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      slider.value = Math.round((to.x - left) / (width - left - right) * last);
      alter();
    };
    svg.addEventListener("pointermove", under);
    svg.addEventListener("pointerdown", under);
    plot.replaceChildren(svg);
    slider.max = last;
    alter();
  }

  function alter() {
    const step = Number(slider.value), share = Math.round(100 * step / (curve.deletion.length - 1));
    slider.setAttribute("aria-valuetext", `${share} percent of the pixels`);
    line.setAttribute("d", `M${x(step)} ${top}V${height - bottom}`);
    names.forEach((name, which) => {
      const value = curve[name][step], pen = canvases[which].getContext("2d");
      dots[which].setAttribute("cx", x(step));
      dots[which].setAttribute("cy", y(value));
      captions[which].textContent = which ? `${share} % shown: ${short(value)}` : `${share} % removed: ${short(value)}`;
      const made = pen.createImageData(canvases[which].width, canvases[which].height);
      for (let i = 0; i < parts.length; i++) {
        const changed = parts[i] < step, at = 4 * i, from = which && !changed ? blurred : seen;
        for (let c = 0; c < 3; c++) made.data[at + c] = !which && changed ? curve.colour[c] : from[at + c];
        made.data[at + 3] = 255;
      }
      pen.putImageData(made, 0, 0);
    });
  }

  select.addEventListener("change", draw);
  slider.addEventListener("input", alter);
  await draw();
}

const alterations = document.querySelectorAll(".alterations");
if (alterations.length) {
  const {curves} = JSON.parse(document.getElementById("data").textContent);
  for (const section of alterations) onceOpen(section, () => follow(section, curves));
}

const trials = document.querySelectorAll(".trials");
if (trials.length) {
  const {verdicts} = JSON.parse(document.getElementById("data").textContent);
  for (const section of trials) onceOpen(section, () => explore(section, verdicts[section.dataset.verdict]));
}
document.documentElement.classList.add("script");
})();
