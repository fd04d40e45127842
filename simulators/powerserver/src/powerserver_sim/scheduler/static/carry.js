/* Drag and drop by keys, and by single clicks: pick up, choose a time, drop; Escape puts it back. All guards are the
   server's: a refused drop says why, and the study stays in the hand. */
import { hold, refresh, release } from "./live.js";
import { post } from "./post.js";
import { toast } from "./toast.js";

const page = document.getElementById("scheduler");
const bar = document.getElementById("carry");
const what = document.getElementById("carry-what");
const where = document.getElementById("carry-where");
const news = document.getElementById("carry-news");
let carried = null;
let isDropping = false;

export const isCarrying = () => carried !== null;
const say = (words) => { news.textContent = words; };

export function markColumns(modality) {
  for (const column of page.querySelectorAll(".column")) {
    column.classList.toggle("cannot", Boolean(modality) && column.dataset.modality !== modality);
  }
}
export function clearColumns() {
  for (const column of page.querySelectorAll(".column.cannot")) column.classList.remove("cannot");
}

export function pickUp(card) {
  if (carried) putBack();
  carried = { card, placer: card.dataset.placer, name: `${card.dataset.patient}, ${card.dataset.placer}` };
  hold();
  card.classList.add("is-dragged");
  markColumns(card.dataset.modality);
  what.textContent = `Holding ${carried.name}.`;
  bar.hidden = false;
  say(`Picked up ${carried.name}. Arrow keys choose a time, Enter drops, Escape puts it back.`);
  const slots = [...page.querySelectorAll(".column:not(.cannot) .slot:not(.closed)")];
  const at = slots.find((slot) => slot.dataset.resource === card.dataset.resource && slot.dataset.clock === card.dataset.clock);
  const target = at ?? slots.find((slot) => slot.getAttribute("aria-label").endsWith(", free")) ?? slots[0];
  if (target) target.focus();
  else { toast("No resource on this page takes this study.", "", true); putBack(); }
}

export async function drop(slot) {
  if (!carried || isDropping) return;
  isDropping = true;
  const done = await post(`/appointments/${carried.placer}/time`, { resource: slot.dataset.resource, start: slot.dataset.start });
  isDropping = false;
  if (!done || !carried) return;
  const { placer } = carried;
  end();
  say(`Dropped. ${done.message}`);
  toast(done.message);
  const left = document.activeElement.dataset.testid;
  await refresh();
  // Where the page took long, its user may have gone on meanwhile, to a menu for instance.
  const now = document.activeElement;
  if (now !== document.body && now.dataset.testid !== left) return;
  page.querySelector(`[data-testid="appointment-${CSS.escape(placer)}"]`)?.focus({ preventScroll: true });
}

export function putBack() {
  if (!carried) return;
  const { card, name } = carried;
  end();
  say(`${name} is back in its place.`);
  const again = card.isConnected ? card : page.querySelector(`[data-testid="${CSS.escape(card.dataset.testid)}"]`);
  const target = again?.matches(".block") ? again : again?.querySelector("[data-pick-up]");
  target?.focus({ preventScroll: true });
}

function end() {
  carried.card.classList.remove("is-dragged");
  carried = null;
  bar.hidden = true;
  where.textContent = "";
  clearColumns();
  release();
}

page.addEventListener("focusin", (event) => {
  if (carried && event.target.matches(".slot")) where.textContent = event.target.getAttribute("aria-label");
});
document.addEventListener("keydown", (event) => {
  if (carried && event.key === "Escape") { event.preventDefault(); putBack(); }
});
document.getElementById("carry-cancel").addEventListener("click", putBack);
