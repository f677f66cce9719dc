"use strict";
(() => {
// A dot of a class's map shows its picture's evidence and what it is called; arrows go from one to the next.
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const ramp = bytes(document.getElementById("data").dataset.ramp);

function pick(field, dot) {
  const map = bytes(dot.dataset.map);
  const canvas = field.querySelector("canvas");
  const image = new ImageData(canvas.width, canvas.height);
  map.forEach((value, i) => image.data.set([ramp[3 * value], ramp[3 * value + 1], ramp[3 * value + 2], 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  field.querySelector(".picked").classList.add("has");
  field.querySelector(".picked p").textContent = `${dot.dataset.id}: cluster ${dot.dataset.cluster}`;
  for (const other of field.querySelectorAll(".on")) other.classList.remove("on");
  dot.classList.add("on");
}

function nearest(plot, event) {
  const box = plot.getBoundingClientRect();
  const x = (event.clientX - box.left) / box.width * 100, y = (event.clientY - box.top) / box.height * 100;
  let best = null, least = 36;
  for (const dot of plot.querySelectorAll("circle")) {
    const far = (dot.cx.baseVal.value - x) ** 2 + (dot.cy.baseVal.value - y) ** 2;
    if (far < least) [best, least] = [dot, far];
  }
  return best;
}

for (const field of document.querySelectorAll(".embedding .field")) {
  const plot = field.querySelector(".plot");
  const dots = [...plot.querySelectorAll("circle")].sort((a, b) => a.dataset.cluster - b.dataset.cluster);
  plot.addEventListener("click", (event) => {
    const dot = nearest(plot, event);
    if (dot) pick(field, dot);
  });
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const now = dots.findIndex((dot) => dot.classList.contains("on"));
    pick(field, dots[(now + step + dots.length) % dots.length]);
  });
}
})();
