/* The New Order form, as a page or in a dialog: patient search, Add for more studies, types that fit the resource. */
import { post } from "./post.js";

export function bindOrderForm(form, onSaved = null) {
  const search = form.querySelector("[data-patient-search]");
  const options = form.querySelector("[data-patient-options]");
  const resource = form.querySelector("[name=resource]");
  const studies = form.querySelector("[data-studies]");
  let asked = 0;

  search.addEventListener("input", async () => {
    const turn = ++asked;
    const answer = await fetch(`/patients/options?q=${encodeURIComponent(search.value)}`);
    if (turn === asked && answer.ok) options.innerHTML = await answer.text();
  });
  // A choice ends the search: an answer that is still on its way would take the choice away.
  options.addEventListener("change", () => {
    asked += 1;
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      options.querySelector("input")?.click();
    }
  });
  for (const radio of form.querySelectorAll("[name=patient_mode]")) radio.addEventListener("change", showMode);
  function showMode() {
    const isNew = form.querySelector("[name=patient_mode]:checked").value === "new";
    form.querySelector("[data-known-patient]").hidden = isNew;
    const fields = form.querySelector("[data-new-patient]");
    fields.hidden = !isNew;
    fields.disabled = !isNew;
  }

  function fit() {
    const chosen = resource.selectedOptions[0];
    const modality = chosen?.dataset.modality || "";
    for (const option of studies.querySelectorAll("option[data-modality]")) {
      const fits = !modality || !option.dataset.modality || option.dataset.modality === modality;
      option.hidden = option.disabled = !fits;
      if (!fits && option.selected) option.parentElement.value = "";
    }
    form.querySelector("[data-when]").hidden = !resource.value;
    form.querySelector("[data-facility]").hidden = Boolean(resource.value);
    count();
  }
  function count() {
    const preset = Number(resource.selectedOptions[0]?.dataset.minutes || 0);
    let minutes = 0;
    for (const select of studies.querySelectorAll("select")) {
      if (select.value) minutes += Math.max(15, Number(select.selectedOptions[0].dataset.minutes || preset || 15));
    }
    form.querySelector("[data-length]").textContent = minutes ? `${minutes} minutes in all; at least 15 for each study.` : "";
  }
  resource.addEventListener("change", fit);
  studies.addEventListener("change", count);
  form.addEventListener("click", (event) => {
    if (event.target.closest("[data-add-study]")) {
      const rows = studies.querySelectorAll("[data-study]");
      const row = rows[rows.length - 1].cloneNode(true);
      row.querySelector("select").value = "";
      row.querySelector("select").id = `study-${rows.length + 1}`;
      row.querySelector("select").dataset.testid = `study-type-${rows.length + 1}`;
      row.querySelector("label").htmlFor = `study-${rows.length + 1}`;
      row.querySelector("label").textContent = `Study ${rows.length + 1}`;
      row.querySelector("[data-remove-study]").hidden = false;
      studies.append(row);
      row.querySelector("select").focus();
    }
    const remove = event.target.closest("[data-remove-study]");
    if (remove) {
      remove.closest("[data-study]").remove();
      count();
      form.querySelector("[data-add-study]").focus();
    }
    if (event.target.closest("[data-cancel]") && onSaved) {
      event.preventDefault();
      onSaved(null);
    }
  });
  showMode();
  fit();

  if (onSaved) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const ok = form.querySelector("[data-ok]");
      ok.disabled = true;
      const saved = await post(form.action, new FormData(form), (words) => {
        const problem = form.querySelector("[data-problem]");
        problem.hidden = false;
        problem.querySelector("p").textContent = words;
        problem.focus();
      });
      ok.disabled = false;
      if (saved) onSaved(saved);
    });
  }
}

const standing = document.querySelector("form[data-order-form]");
if (standing) bindOrderForm(standing);
