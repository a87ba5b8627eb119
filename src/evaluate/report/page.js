"use strict";
const all = selector => [...document.querySelectorAll(selector)];
const parts = all(".parts .part");
const buttons = all(".filters button");

function show(kind) {
  for (const button of buttons) button.setAttribute("aria-pressed", button.value === kind);
  for (const part of parts) part.hidden = kind !== "all" && !part.dataset.kind.split(" ").includes(kind);
  document.querySelector(".none").hidden = parts.some(part => !part.hidden);
}
for (const button of buttons) button.addEventListener("click", () => show(button.value));

const outlines = document.querySelector(".filters input");
if (outlines) {
  const apply = () => document.body.classList.toggle("no-outlines", !outlines.checked);
  outlines.addEventListener("change", apply);
  apply();
}

const dialog = document.querySelector("dialog");
let enlarged = null;
function enlarge(part) {
  enlarged = part;
  const copy = part.cloneNode(true);
  copy.removeAttribute("tabindex");
  dialog.replaceChildren(copy);
  if (!dialog.open) dialog.showModal();
}
for (const part of parts) {
  part.addEventListener("click", () => enlarge(part));
  part.addEventListener("keydown", event => { if (event.key === "Enter") enlarge(part); });
}
dialog.addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => enlarged.focus());
dialog.addEventListener("keydown", event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const shown = parts.filter(part => !part.hidden);
  const next = step && shown[shown.indexOf(enlarged) + step];
  if (next) enlarge(next);
});
