"use strict";
// The page is complete without this file; it adds the viewer's own time zone, keys and live rows.
(() => {
  const format = new Intl.DateTimeFormat(undefined, {
    year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
  });
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const localTimes = (root) => root.querySelectorAll("time[datetime]").forEach((element) => {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) return;
    element.textContent = format.format(at);
    element.title = `${zone} · ${element.dateTime}`;
  });
  localTimes(document);

  const links = () => [...document.querySelectorAll("#rows .subject a")];
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
    if (event.key === "u" && document.getElementById("back")) document.getElementById("back").click();
    if (event.key === "/" && document.getElementById("to")) { event.preventDefault(); document.getElementById("to").focus(); }
    if (event.key === "j" || event.key === "k") {
      const all = links();
      const now = all.indexOf(document.activeElement);
      const next = now < 0 ? 0 : Math.min(Math.max(now + (event.key === "j" ? 1 : -1), 0), all.length - 1);
      if (all[next]) all[next].focus();
    }
  });

  const list = document.querySelector("#list[data-live]");
  if (!list) return;
  const rows = document.getElementById("rows");
  const count = document.getElementById("count");
  const live = document.getElementById("live");
  const say = (state, text) => { live.dataset.state = state; live.textContent = text; };
  const largest = 500;
  let running = false;
  let again = false;

  const catchUp = async () => {
    if (running) { again = true; return; }
    running = true;
    try {
      do {
        again = false;
        const newest = rows.querySelector("tr") ? rows.querySelector("tr").dataset.id : "0";
        const query = new URLSearchParams({ after: newest, to: list.dataset.to });
        const [fragment, health] = await Promise.all([fetch(`/rows?${query}`), fetch("/healthz")]);
        const holder = document.createElement("template");
        holder.innerHTML = `<table><tbody>${await fragment.text()}</tbody></table>`;
        const fresh = [...holder.content.querySelectorAll("tr")];
        fresh.forEach((row) => row.classList.add("fresh"));
        localTimes(holder.content);
        rows.prepend(...fresh);
        while (rows.children.length > largest) rows.lastElementChild.remove();
        document.getElementById("empty").hidden = rows.children.length > 0;
        count.textContent = (await health.json()).mails;
      } while (again);
    } catch {
      say("off", "Not connected; trying again");
    } finally {
      running = false;
    }
  };

  const source = new EventSource("/events");
  source.addEventListener("open", () => { say("on", "Live"); catchUp(); });
  source.addEventListener("mail", catchUp);
  source.addEventListener("error", () => say("off", "Not connected; trying again"));
})();
