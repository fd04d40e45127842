/** Show a short message. A screen reader reads success when it has time, and a problem at once. */
export function toast(title, text = "", isProblem = false) {
  const box = document.createElement("p");
  box.className = isProblem ? "toast problem" : "toast";
  box.dataset.testid = isProblem ? "toast-problem" : "toast";
  if (text) {
    const head = document.createElement("b");
    head.textContent = title;
    box.append(head, text);
  } else {
    box.textContent = title;
  }
  document.getElementById(isProblem ? "alerts" : "news").append(box);
  setTimeout(() => box.remove(), isProblem ? 9000 : 6000);
}
