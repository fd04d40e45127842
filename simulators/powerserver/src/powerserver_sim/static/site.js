import { follow, refresh } from "./live.js";
import { toast } from "./toast.js";

if (document.querySelector("[data-live]")) follow("/events");

/* The settings menu closes like a menu. */
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(".menu details[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
  const button = event.target.closest("[data-refresh]");
  if (button) {
    event.preventDefault();
    refresh().then(() => toast("The data is up to date."));
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) navigator.clipboard.writeText(copy.dataset.copy).then(() => toast("Copied."));
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll(".menu details[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
/* Filters apply when they change; a date that is being typed applies with Enter or when it is left. */
let typedIn = null;
document.addEventListener("keydown", (event) => {
  if (event.target.matches("form[data-auto-submit] input")) typedIn = event.target;
});
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-auto-submit]");
  if (form && event.target !== typedIn) form.requestSubmit();
});
document.addEventListener("focusout", (event) => {
  if (event.target !== typedIn) return;
  typedIn = null;
  if (event.target.value !== event.target.defaultValue) event.target.form.requestSubmit();
});
