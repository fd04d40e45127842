"use strict";
// The page is complete without this file; it adds the viewer's own time zone and live changes.
(() => {
  const format = new Intl.DateTimeFormat(undefined, {
    year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
  });
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const localTimes = (root) => root.querySelectorAll("time[datetime]").forEach((element) => {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) return;
    element.title = `${zone} · ${element.dateTime}`;
    element.textContent = format.format(at);
  });
  localTimes(document);

  if (!document.querySelector("#list[data-live]")) return;
  const rows = document.getElementById("rows");
  const live = document.getElementById("live");
  const say = (state, text) => { live.dataset.state = state; live.textContent = text; };
  const pageSize = 100;
  let running = false;
  let again = false;

  // Rows that changed are replaced where they stand and new ones go on top: what is being read does not move.
  const merge = (fresh) => {
    const fromServer = [...fresh.querySelectorAll("#rows tr")];
    localTimes(fresh);
    const added = [];
    fromServer.forEach((row) => {
      const old = rows.querySelector(`tr[data-id="${row.dataset.id}"]`);
      if (old && old.innerHTML === row.innerHTML) return;
      row.classList.add("fresh");
      if (old) old.replaceWith(row); else added.push(row);
    });
    rows.prepend(...added);
    if (fromServer.length < pageSize) {
      // The answer was the whole list: what is not in it no longer fits the filter.
      const kept = new Set(fromServer.map((row) => row.dataset.id));
      [...rows.children].filter((row) => !kept.has(row.dataset.id)).forEach((row) => row.remove());
    }
    document.getElementById("counts").replaceWith(fresh.getElementById("counts"));
    document.getElementById("empty").hidden = rows.children.length > 0;
  };

  const catchUp = async () => {
    if (running) { again = true; return; }
    running = true;
    try {
      do {
        again = false;
        const answer = await fetch(window.location.href);
        if (answer.ok) merge(new DOMParser().parseFromString(await answer.text(), "text/html"));
      } while (again);
    } catch {
      say("off", "Not connected; trying again");
    } finally {
      running = false;
    }
  };

  const source = new EventSource("/messages/events");
  source.addEventListener("open", () => { say("on", "Live"); catchUp(); });
  source.addEventListener("changed", catchUp);
  source.addEventListener("error", () => say("off", "Not connected; trying again"));
})();
