/* One context menu for the page: right-click, menu key or a click opens it, arrows and letters move, Escape gives the focus back. */

const menu = document.getElementById("context-menu");
let opener = null;

export function openMenu(from, x, y, title, items) {
  opener = from;
  menu.replaceChildren();
  const heading = document.createElement("div");
  heading.className = "menu-title";
  heading.textContent = title;
  heading.setAttribute("role", "presentation");
  menu.append(heading);
  for (const item of items) {
    if (item === null) { menu.append(document.createElement("hr")); continue; }
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("role", "menuitem");
    button.dataset.testid = `menu-${item.id}`;
    button.textContent = item.words;
    button.addEventListener("click", () => { closeMenu(); item.run(); });
    menu.append(button);
  }
  menu.setAttribute("aria-label", title);
  menu.hidden = false;
  const box = menu.getBoundingClientRect();
  menu.style.left = `${Math.max(4, Math.min(x, innerWidth - box.width - 4))}px`;
  menu.style.top = `${Math.max(4, Math.min(y, innerHeight - box.height - 4))}px`;
  menu.querySelector("button").focus();
}

export function openMenuAt(from, title, items) {
  const box = from.getBoundingClientRect();
  openMenu(from, box.left + Math.min(24, box.width / 2), Math.min(box.bottom, box.top + 28), title, items);
}

export function closeMenu() {
  if (menu.hidden) return;
  menu.hidden = true;
  if (opener && opener.isConnected) opener.focus({ preventScroll: true });
  else if (opener) document.querySelector(`[data-testid="${CSS.escape(opener.dataset.testid)}"]`)?.focus({ preventScroll: true });
}

menu.addEventListener("keydown", (event) => {
  const buttons = [...menu.querySelectorAll("button")];
  const index = buttons.indexOf(document.activeElement);
  const next = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (next !== undefined) {
    event.preventDefault();
    buttons.at(next % buttons.length).focus();
  } else if (event.key.length === 1 && event.key !== " ") {
    const letter = event.key.toLowerCase();
    const after = [...buttons.slice(index + 1), ...buttons.slice(0, index + 1)];
    after.find((button) => button.textContent.toLowerCase().startsWith(letter))?.focus();
  } else if (event.key === "Escape" || event.key === "Tab") {
    event.preventDefault();
    closeMenu();
  }
});
document.addEventListener("pointerdown", (event) => {
  if (!menu.hidden && !menu.contains(event.target)) menu.hidden = true;
});
