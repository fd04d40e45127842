"use strict";
// A page is complete without this file. It keeps the page up to date, counts ages and copies identifiers.
(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const own = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

  const ago = (seconds) => {
    if (seconds < 120) return `${Math.max(0, Math.floor(seconds))} s`;
    if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} days`;
  };
  const countAges = (root) => root.querySelectorAll("time[data-age]").forEach((element) => {
    const text = `for ${ago((Date.now() - new Date(element.dateTime).getTime()) / 1000)}`;
    if (element.textContent !== text) element.textContent = text;
  });
  // What only a browser can add; the same for a whole page and for the parts that come later.
  const dress = (root) => {
    root.querySelectorAll("time[datetime]").forEach((element) => {
      const at = new Date(element.dateTime);
      if (!Number.isNaN(at.getTime())) element.title = `${own.format(at)} ${zone}`;
    });
    countAges(root);
    if (navigator.clipboard) root.querySelectorAll("button.copy").forEach((button) => { button.hidden = false; });
  };
  // As the server sent them: what a later answer is compared with.
  const sent = new WeakMap();
  const partsSent = new Map();
  document.querySelectorAll("[data-rows] > *").forEach((row) => sent.set(row, row.innerHTML));
  document.querySelectorAll("[data-part]").forEach((part) => partsSent.set(part.dataset.part, part.innerHTML));
  dress(document);
  window.setInterval(() => countAges(document), 1000);

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (button) {
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.dataset.state = "done";
      } catch {
        button.dataset.state = "failed";
      }
      button.title = button.dataset.state === "done" ? "Copied" : "The browser does not allow it";
      window.setTimeout(() => { delete button.dataset.state; button.title = ""; }, 1500);
    }
    document.querySelectorAll("details.confirm[open]").forEach((one) => { if (!one.contains(event.target)) one.open = false; });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    document.querySelectorAll("details.confirm[open]").forEach((one) => {
      one.open = false;
      one.querySelector("summary").focus();
    });
  });

  const main = document.querySelector("main[data-events]");
  if (!main) return;
  const live = document.getElementById("live");
  const say = (state, text) => { live.dataset.state = state; live.textContent = text; };
  const isInUse = (part) => part.contains(document.activeElement) || part.querySelector("details[open]") !== null;
  let running = false;
  let again = false;

  // Rows with a data-key are replaced where they stand, and new ones take their place: what a person reads does not move.
  const mergeRows = (body, next) => {
    const known = new Map([...body.children].map((row) => [row.dataset.key, row]));
    let waits = false;
    let after = null;
    [...next.children].forEach((row) => {
      const old = known.get(row.dataset.key);
      known.delete(row.dataset.key);
      let placed = old;
      if (old === undefined || sent.get(old) !== row.innerHTML) {
        if (old !== undefined && isInUse(old)) {
          waits = true;
        } else {
          placed = row;
          sent.set(placed, row.innerHTML);
          placed.classList.add("fresh");
          dress(placed);
          if (old !== undefined) old.replaceWith(placed);
        }
      }
      const place = after === null ? body.firstChild : after.nextSibling;
      if (place !== placed) body.insertBefore(placed, place);
      after = placed;
    });
    known.forEach((row) => { if (isInUse(row)) waits = true; else row.remove(); });
    return waits;
  };
  // What a part says beside its rows, such as its caption.
  const aroundRows = (part) => {
    const copy = part.cloneNode(true);
    copy.querySelectorAll("[data-rows]").forEach((body) => body.replaceChildren());
    return copy.innerHTML;
  };
  const around = (name) => {
    const copy = document.createElement("div");
    copy.innerHTML = partsSent.get(name) || "";
    return aroundRows(copy);
  };
  const replace = (part, next) => {
    const rows = part.querySelector("[data-rows]");
    const fresh = next.querySelector("[data-rows]");
    const isInHand = isInUse(part);
    if (rows !== null && fresh !== null && (isInHand || around(part.dataset.part) === aroundRows(next))) {
      return mergeRows(rows, fresh) || (isInHand && around(part.dataset.part) !== aroundRows(next));
    }
    if (isInHand) return true;
    part.replaceChildren(...next.childNodes);
    dress(part);
    return false;
  };

  const redraw = async () => {
    const answer = await fetch(window.location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    let waits = false;
    main.querySelectorAll("[data-part]").forEach((part) => {
      const next = page.querySelector(`[data-part="${part.dataset.part}"]`);
      if (next === null || partsSent.get(part.dataset.part) === next.innerHTML) return;
      const text = next.innerHTML;
      if (replace(part, next)) waits = true; else partsSent.set(part.dataset.part, text);
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
