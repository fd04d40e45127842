import { follow, refresh } from "./live.js";

/* Forms of choices: what is chosen stands in the address, and the parts of the page that depend on it follow. */
document.documentElement.classList.add("has-scripts");

async function choose(form, kind, more = []) {
  const query = new URLSearchParams(new FormData(form));
  for (const [name, value] of more) query.set(name, value);
  if (more.length > 0) query.delete("day");
  history.replaceState(null, "", `${location.pathname}?${query}`);
  await refresh([kind]);
}

document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-follows-choices]");
  if (form) choose(form, event.target.name);
});

/* Another month: the page stays, and the focus is at the same button or at the month's name. */
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-follows-choices]");
  const button = event.submitter;
  if (!form || button?.name !== "month") return;
  event.preventDefault();
  const testId = button.dataset.testid;
  await choose(form, "month", [["month", button.value]]);
  const again = document.querySelector(`[data-testid="${testId}"]`);
  if (again) again.focus();
});

follow("/blume/events?with=slots");
