"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const dialog = document.querySelector("dialog");
let enlarged = null;

function enlarge(part) {
  enlarged = part;
  const gallery = part.closest(".gallery");
  const copy = part.cloneNode(true);
  copy.removeAttribute("tabindex");
  dialog.replaceChildren(copy);
  dialog.style.setProperty("--aspect", getComputedStyle(gallery).getPropertyValue("--aspect"));
  dialog.classList.toggle("no-outlines", gallery.classList.contains("no-outlines"));
  if (!dialog.open) dialog.showModal();
}

for (const gallery of all(".gallery")) {
  const parts = all(".part", gallery);
  const buttons = all(".filters button", gallery);
  const show = kind => {
    for (const button of buttons) button.setAttribute("aria-pressed", button.value === kind);
    for (const part of parts) part.hidden = kind !== "all" && !part.dataset.kind.split(" ").includes(kind);
    for (const group of all(".group", gallery)) group.hidden = all(".part", group).every(part => part.hidden);
    gallery.querySelector(".none").hidden = parts.some(part => !part.hidden);
  };
  for (const button of buttons) button.addEventListener("click", () => show(button.value));

  const outlines = gallery.querySelector(".filters input");
  if (outlines) {
    const apply = () => gallery.classList.toggle("no-outlines", !outlines.checked);
    outlines.addEventListener("change", apply);
    apply();
  }

  for (const part of parts) {
    part.addEventListener("click", () => enlarge(part));
    part.addEventListener("keydown", event => { if (event.key === "Enter") enlarge(part); });
  }
}

dialog.addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => enlarged.focus());
dialog.addEventListener("keydown", event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const shown = all(".gallery .part").filter(part => !part.hidden);
  const next = step && shown[shown.indexOf(enlarged) + step];
  if (next) enlarge(next);
});
