/* The page is complete without this file. It adds the reader's own time zone, keys and live rows. */
import { adaptWith, follow } from "./live.js";

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
adaptWith(localTimes);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
  if (event.key === "u") document.getElementById("back")?.click();
  const filter = document.getElementById("to");
  if (event.key === "/" && filter) { event.preventDefault(); filter.focus(); }
  if (event.key === "j" || event.key === "k") {
    const all = [...document.querySelectorAll("#rows .subject a")];
    const now = all.indexOf(document.activeElement);
    const next = now < 0 ? 0 : Math.min(Math.max(now + (event.key === "j" ? 1 : -1), 0), all.length - 1);
    all[next]?.focus();
  }
});

if (document.querySelector("[data-live]")) follow("/events");
