"use strict";
// A page is complete without this file; it only keeps it up to date. Each [data-part] that differs is replaced where it
// stands, unless somebody is at work in it: what a person types, opens or reads does not move.
(() => {
  const main = document.querySelector("main[data-events]");
  if (!main) return;
  const live = document.getElementById("live");
  const say = (state, text) => { live.dataset.state = state; live.textContent = text; };
  const isInUse = (part) => part.contains(document.activeElement) || part.querySelector("details[open]") !== null;
  let running = false;
  let again = false;

  const redraw = async () => {
    const answer = await fetch(window.location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    let waits = false;
    main.querySelectorAll("[data-part]").forEach((part) => {
      const next = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
      if (next === null || next.innerHTML === part.innerHTML) return;
      if (isInUse(part)) { waits = true; return; }
      part.replaceChildren(...next.childNodes);
    });
    if (waits) window.setTimeout(catchUp, 1000);
  };

  const catchUp = async () => {
    if (running) { again = true; return; }
    running = true;
    try {
      do {
        again = false;
        await redraw();
      } while (again);
      say("on", "Live");
    } catch {
      say("off", "Not connected; trying again");
    } finally {
      running = false;
    }
  };

  const source = new EventSource(main.dataset.events);
  source.addEventListener("open", catchUp);
  source.addEventListener("changed", catchUp);
  source.addEventListener("error", () => say("off", "Not connected; trying again"));
})();
