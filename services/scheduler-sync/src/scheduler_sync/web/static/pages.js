// Redraws the page's content when the store has changed; nobody has to press refresh.
"use strict";

const POLL_MILLISECONDS = 1000;
let known = null;

async function redraw() {
  const response = await fetch(window.location.href, { headers: { Accept: "text/html" } });
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.querySelector("main");
  const shown = document.querySelector("main");
  // Someone who is choosing a filter must not lose what they typed.
  if (shown.querySelector("form :focus")) return;
  shown.replaceChildren(...fresh.childNodes);
}

async function look() {
  const live = document.getElementById("live");
  try {
    const response = await fetch("/links/version", { cache: "no-store" });
    const { version } = await response.json();
    if (known !== null && version !== known) await redraw();
    known = version;
    live.textContent = "";
  } catch {
    live.textContent = "No connection to scheduler-sync; trying again.";
  }
  window.setTimeout(look, POLL_MILLISECONDS);
}

look();
