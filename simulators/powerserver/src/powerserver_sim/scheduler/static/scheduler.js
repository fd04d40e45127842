/* The calendar: slots and appointments by mouse, by drag and by keyboard. All guards are the server's. */
import { clearColumns, drop, isCarrying, markColumns, pickUp } from "./carry.js";
import { hold, refresh, release } from "./live.js";
import { openMenu, openMenuAt } from "./menu.js";
import { bindOrderForm } from "./order-form.js";
import { post } from "./post.js";
import { toast } from "./toast.js";

const page = document.getElementById("scheduler");
const orderDialog = document.getElementById("order-dialog");
const timeDialog = document.getElementById("time-dialog");

/* New Order, in the dialog */
async function newOrder(query) {
  const answer = await fetch(`/orders/new?fragment=1&${new URLSearchParams(query)}`, { headers: { Accept: "application/json" } });
  if (!answer.ok) {
    const body = await answer.json().catch(() => ({}));
    toast(body.error?.message ?? "The New Order form did not open. Please try again.", "", true);
    return;
  }
  orderDialog.querySelector(".dialog-body").innerHTML = await answer.text();
  const form = orderDialog.querySelector("form");
  bindOrderForm(form, (saved) => {
    orderDialog.close();
    if (saved) { toast(saved.message); refresh(); }
  });
  orderDialog.showModal();
  form.querySelector("[data-patient-search]").focus();
}
const createAt = (slot) => newOrder({ resource: slot.dataset.resource, start: slot.dataset.start });

/* Day and month, by menu or toolbar */
function goTo(day) {
  const url = new URL(location.href);
  if (day) url.searchParams.set("day", day); else url.searchParams.delete("day");
  location.assign(url);
}
const dayItems = [
  { id: "today", words: "Today", run: () => goTo("") },
  { id: "go-to-date", words: "Go to Date", run: () => { const day = document.getElementById("day"); day.focus(); day.showPicker?.(); } },
  { id: "resources-layout-editor", words: "Resources Layout Editor", run: () => layoutDialog.showModal() },
];

/* The Resources Layout Editor */
const layoutDialog = document.getElementById("layout-dialog");
layoutDialog.addEventListener("click", (event) => {
  const button = event.target.closest("[data-up], [data-down]");
  if (!button) return;
  const item = button.closest("li");
  if ("up" in button.dataset) item.previousElementSibling?.before(item);
  else item.nextElementSibling?.after(item);
  button.focus();
});
layoutDialog.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const done = await post(event.target.action, new FormData(event.target), (words) => showProblem(event.target, words));
  if (done) { layoutDialog.close(); toast(done.message); await refresh(); }
});

/* Move or schedule without dragging */
function askTime(card) {
  const form = timeDialog.querySelector("form");
  timeDialog.querySelector("h2").textContent = card.dataset.start ? `Move ${card.dataset.placer}` : `Schedule ${card.dataset.placer}`;
  form.dataset.placer = card.dataset.placer;
  const fits = (option) => !card.dataset.modality || option.dataset.modality === card.dataset.modality;
  for (const option of form.elements.resource.options) option.hidden = option.disabled = !fits(option);
  const current = [...form.elements.resource.options].find((option) => !option.disabled && (!card.dataset.resource || option.value === card.dataset.resource));
  if (current) form.elements.resource.value = current.value;
  form.elements.time.value = card.dataset.clock || "";
  form.querySelector("[data-problem]").hidden = true;
  timeDialog.showModal();
  form.elements.resource.focus();
}
timeDialog.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const done = await post(`/appointments/${form.dataset.placer}/time`, new FormData(form), (words) => showProblem(form, words));
  if (done) { timeDialog.close(); toast(done.message); refresh(); }
});

/* Menus */
const act = async (placer, fields) => {
  const done = await post(`/appointments/${placer}/status`, fields);
  if (done) { toast(done.message); refresh(); }
};
const answerRequest = async (placer, fields) => {
  const done = await post(`/appointments/${placer}/request`, fields);
  if (done) { toast(done.message); refresh(); }
};

/* A reason, and where wanted a status, before something is sent */
const reasonDialog = document.getElementById("reason-dialog");
function ask(title, ok, address, fields, status = null) {
  const form = reasonDialog.querySelector("form");
  reasonDialog.querySelector("h2").textContent = title;
  form.querySelector("[data-ok]").textContent = ok;
  form.querySelector("[data-status-field]").hidden = status === null;
  form.elements.status.disabled = status === null;
  if (status !== null) form.elements.status.value = status;
  form.elements.reason.value = "";
  form.querySelector("[data-problem]").hidden = true;
  form.onsubmit = async (event) => {
    event.preventDefault();
    const done = await post(address, [...Object.entries(fields), ...new FormData(form)], (words) => showProblem(form, words));
    if (done) { reasonDialog.close(); toast(done.message); refresh(); }
  };
  reasonDialog.showModal();
  (status === null ? form.elements.reason : form.elements.status).focus();
}
function showProblem(form, words) {
  const problem = form.querySelector("[data-problem]");
  problem.hidden = false;
  problem.querySelector("p").textContent = words;
}
const asksForReason = new Set(["cancelled-with-notice"]);
const actions = JSON.parse(document.getElementById("actions").textContent);
const maySchedule = "maySchedule" in page.dataset;
function requestItems(block) {
  const { placer, patient, asked } = block.dataset;
  const words = asked === "move" ? "Confirm the wanted time" : "Confirm the request";
  return [
    { id: "request-accept", words, run: () => answerRequest(placer, { answer: "accept" }) },
    { id: "request-decline", words: "Decline…", run: () => ask(`Decline ${patient}`, "Decline", `/appointments/${placer}/request`, { answer: "decline" }) },
    null,
  ];
}
function appointmentItems(block) {
  const { placer, patient, status } = block.dataset;
  const isWish = block.matches(".is-wish");
  const run = (id, words) => asksForReason.has(id)
    ? ask(`${words}: ${patient}`, words, `/appointments/${placer}/status`, { action: id })
    : act(placer, { action: id });
  return [
    ...(block.dataset.asked && maySchedule ? requestItems(block) : []),
    ...actions.map(([id, words]) => ({ id, words, run: () => run(id, words) })),
    { id: "other-status", words: "Other status…", run: () => ask(`Status of ${placer}`, "Set", `/appointments/${placer}/status`, {}, status) },
    null,
    ...(maySchedule && !isWish ? [{ id: "pick-up", words: "Pick up", run: () => pickUp(block) }] : []),
    ...(maySchedule ? [{ id: "move", words: "Move…", run: () => askTime(block) }] : []),
    { id: "open", words: "Open appointment", run: () => location.assign(`/appointments/${placer}`) },
    { id: "patient", words: "Patient record", run: () => location.assign(`/patients/${block.dataset.patientKey}`) },
    null,
    ...dayItems,
  ];
}
function slotItems(slot) {
  const scale = () => { const field = document.getElementById("scale"); field.focus(); field.showPicker?.(); };
  return [
    { id: "create-appointment", words: "Create appointment…", run: () => createAt(slot) },
    null,
    ...dayItems,
    { id: "view-time-scale", words: "View Time Scale", run: scale },
  ];
}
function itemsFor(target) {
  if (target.matches(".block")) return [`${target.dataset.placer} · ${target.dataset.patient}`, appointmentItems(target)];
  return [target.getAttribute("aria-label"), slotItems(target)];
}
const menuTarget = (event) => event.target.closest(".block, .slot:not(.closed)");

page.addEventListener("contextmenu", (event) => {
  const target = menuTarget(event);
  if (!target) return;
  event.preventDefault();
  if (event.clientX || event.clientY) openMenu(target, event.clientX, event.clientY, ...itemsFor(target));
  else openMenuAt(target, ...itemsFor(target));
});
page.addEventListener("click", (event) => {
  const slot = event.target.closest(".slot:not(.closed)");
  if (slot && isCarrying()) { drop(slot); return; }
  const block = event.target.closest(".block");
  if (block && !isCarrying()) openMenu(block, event.clientX, event.clientY, ...itemsFor(block));
  const schedule = event.target.closest("[data-schedule]");
  if (schedule) askTime(schedule.closest("[data-placer]"));
  const pick = event.target.closest("[data-pick-up]");
  if (pick) pickUp(pick.closest("[data-placer]"));
  const request = event.target.closest("[data-request]");
  if (request) {
    const { placer, patient } = request.closest("[data-placer]").dataset;
    const answer = request.dataset.request;
    if (answer === "accept") answerRequest(placer, { answer });
    else ask(`Decline ${patient}`, "Decline", `/appointments/${placer}/request`, { answer });
  }
  if (event.target.closest("[data-new-order]")) { event.preventDefault(); newOrder({ facility: page.dataset.facility }); }
});
page.addEventListener("dblclick", (event) => {
  const slot = event.target.closest(".slot:not(.closed)");
  if (slot && !isCarrying()) createAt(slot);
});
page.addEventListener("submit", async (event) => {
  if (!event.target.matches("[data-refresh-form]")) return;
  event.preventDefault();
  const done = await post(event.target.action, {});
  if (done) { await refresh(); toast(done.message); }
});

/* Keys: arrows walk over the grid, Enter opens, Space picks up, the menu key or Shift+F10 opens the menu */
page.addEventListener("keydown", (event) => {
  const target = event.target;
  if (target.matches(".block") && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    if (event.key === " " && target.draggable && !isCarrying()) pickUp(target);
    else if (!isCarrying()) openMenuAt(target, ...itemsFor(target));
    return;
  }
  if (!target.matches(".slot")) return;
  if (event.key === "Enter" || (event.key === " " && isCarrying())) {
    event.preventDefault();
    if (isCarrying()) drop(target); else createAt(target);
    return;
  }
  const columns = [...page.querySelectorAll(".column:not(.cannot)")];
  const column = columns.findIndex((one) => one.contains(target));
  const slots = [...columns[column].querySelectorAll(".slot:not(.closed)")];
  const row = slots.indexOf(target);
  const sideways = { ArrowLeft: column - 1, ArrowRight: column + 1 }[event.key];
  const next = sideways === undefined
    ? slots[{ ArrowDown: row + 1, ArrowUp: row - 1, Home: 0, End: slots.length - 1, PageDown: row + 4, PageUp: Math.max(0, row - 4) }[event.key]]
    : columns[sideways]?.querySelector(`.slot:not(.closed)[data-clock="${target.dataset.clock}"]`);
  if (next) {
    event.preventDefault();
    target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
});

/* Drag: an ORDERED study onto a resource, or an appointment to another time */
let dragged = null;
page.addEventListener("dragstart", (event) => {
  const card = event.target.closest?.("[data-placer]");
  if (!card) return;
  dragged = card;
  hold();
  event.dataTransfer.effectAllowed = "move";
  event.dataTransfer.setData("text/plain", card.dataset.placer);
  card.classList.add("is-dragged");
  markColumns(card.dataset.modality);
});
const slotUnder = (event) => document.elementsFromPoint(event.clientX, event.clientY).find((one) => one.matches(".slot:not(.closed)"));
page.addEventListener("dragover", (event) => {
  if (!dragged) return;
  const slot = slotUnder(event);
  page.querySelector(".slot.drop")?.classList.remove("drop");
  if (slot) { event.preventDefault(); slot.classList.add("drop"); }
});
page.addEventListener("drop", async (event) => {
  const slot = slotUnder(event);
  if (!dragged || !slot) return;
  event.preventDefault();
  const done = await post(`/appointments/${dragged.dataset.placer}/time`, { resource: slot.dataset.resource, start: slot.dataset.start });
  if (done) toast(done.message);
});
page.addEventListener("dragend", () => {
  dragged?.classList.remove("is-dragged");
  dragged = null;
  page.querySelector(".slot.drop")?.classList.remove("drop");
  clearColumns();
  release();
});

for (const dialog of [orderDialog, timeDialog, reasonDialog, layoutDialog]) {
  dialog.addEventListener("click", (event) => { if (event.target.closest("[data-close]")) dialog.close(); });
}

/* Open at the working day's present: today near now, otherwise at the first appointment. */
function startPlace() {
  const calendar = document.getElementById("calendar");
  const mark = calendar?.querySelector(".now") || calendar?.querySelector(".block");
  if (mark) calendar.scrollTop = Math.max(0, mark.offsetTop - 120);
}
startPlace();
