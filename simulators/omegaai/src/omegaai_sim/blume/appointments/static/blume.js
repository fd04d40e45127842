import { follow, refresh } from "./live.js";
import { toast } from "./toast.js";

const send = (form) => fetch(form.action, {
  method: "POST", body: new URLSearchParams(new FormData(form)), headers: { Accept: "application/json" },
});

/* Confirm and Cancel act in place: the card changes where it is, and the reader stays there. */
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-act]");
  if (!form) return;
  event.preventDefault();
  if (form.dataset.isSending) return;
  form.dataset.isSending = "yes";
  const button = form.querySelector("button");
  button.setAttribute("aria-disabled", "true");
  const key = form.closest("[data-key]:is(li)")?.dataset.key;
  try {
    const answer = await send(form);
    if (answer.status === 401) { location.assign("/blume/login"); return; }
    const said = await answer.json();
    if (answer.ok) toast(said.title, said.text);
    else toast(said.error, "", true);
  } catch {
    toast("The portal did not answer. Please try again.", "", true);
  }
  delete form.dataset.isSending;
  button.removeAttribute("aria-disabled");
  await refresh();
  if (key && !document.activeElement?.closest(`#card-${key}`)) {
    document.getElementById(`study-${key}`)?.focus({ preventScroll: true });
  }
});

/* Opening the list marks it as read. The dots stay until it is closed, so that the reader sees the new entries. */
const bell = document.getElementById("bell");
const readForm = document.getElementById("read-form");
let reading = Promise.resolve();
bell.addEventListener("toggle", () => {
  if (bell.open) reading = send(readForm).catch(() => {});
  else reading.then(() => refresh());
});
readForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  await send(readForm);
  refresh();
});
document.addEventListener("click", (event) => {
  if (bell.open && !bell.contains(event.target)) bell.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !bell.open) return;
  bell.open = false;
  bell.querySelector("summary").focus();
});

follow("/blume/events");
