"use strict";
// Sliders and switches: one per map, and one pair that moves them all.
const cards = document.querySelectorAll(".card");
const controls = document.querySelector(".controls");

function fade(slider) {
  slider.closest(".card, .controls").style.setProperty("--heat", slider.value / 100);
  slider.setAttribute("aria-valuetext", slider.value + " percent");
}

function show(owner, view) {
  const radios = [...owner.querySelectorAll("input[type=radio]")];
  if (view && !radios.some((radio) => radio.value === view)) return; // nothing was sampled: no error to show
  for (const radio of radios) radio.checked = radio.value === view;
}

for (const card of cards) {
  const slider = card.querySelector("input[type=range]");
  slider.addEventListener("input", () => fade(slider));
  card.addEventListener("change", () => {
    const views = new Set([...cards].map((one) => one.querySelector("input[type=radio]:checked").value));
    show(controls, views.size === 1 ? [...views][0] : "");
  });
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
document.documentElement.classList.add("script");
