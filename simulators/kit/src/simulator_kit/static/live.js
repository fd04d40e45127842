/* Live pages. An event says what changed; the page is fetched anew, and only the parts that differ are swapped in.

   A part is an element with an id and `data-live`, which may list the kinds of events that concern it. Children of a
   part that have `data-key` are matched one by one: the reader's place, typed words and focus stay. A part without such
   children is swapped whole. */

let held = 0;
let running = null;
let wanted = null;
let adapt = () => {};

/** Keep the page as it is, while somebody drags for instance; `release` shows what changed meanwhile. */
export function hold() { held += 1; }
export function release() {
  held = Math.max(0, held - 1);
  if (held === 0) refresh();
}

/** Change every fetched page before it is compared with this one: times in the reader's zone, for instance. */
export function adaptWith(change) { adapt = change; }

/** Fetch this page again and show what changed: in all parts, or in those that show one of `kinds`.
    Calls that come during a fetch share one more. */
export function refresh(kinds = null) {
  if (wanted === null) wanted = new Set();
  if (kinds === null) wanted.add("*");
  else for (const kind of kinds) wanted.add(kind);
  running ??= (async () => {
    while (wanted !== null) {
      const now = wanted;
      wanted = null;
      await fetchAndSwap(now);
    }
    running = null;
  })();
  return running;
}

const concerns = (part, kinds) =>
  kinds.has("*") || part.dataset.live === "" || part.dataset.live.split(" ").some((kind) => kinds.has(kind));

async function fetchAndSwap(kinds) {
  const parts = [...document.querySelectorAll("[data-live]")].filter((part) => concerns(part, kinds));
  if (parts.length === 0) return;
  const answer = await fetch(location.pathname + location.search, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!answer || !answer.ok) return;
  if (answer.redirected) { location.assign(answer.url); return; }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  adapt(fresh);
  if (held > 0) return;
  const stay = keepPlace();
  for (const part of parts) {
    const other = part.isConnected && fresh.getElementById(part.id);
    if (!other) continue;
    if (keyed(part).length > 0 || keyed(other).length > 0) merge(part, other);
    else if (other.innerHTML !== part.innerHTML) swap(part, other);
  }
  stay();
}

/* What the reader looks at stays where it is: the field in use, or else the first item in sight. At the top of the page
   new items come into view instead. */
function keepPlace() {
  const inUse = () => document.activeElement?.closest("[data-live] [data-key]") && document.activeElement;
  const find = inUse() ? inUse : scrollY > 0 ? inSight() : () => null;
  const before = find()?.getBoundingClientRect().top;
  return () => {
    const after = find()?.getBoundingClientRect().top;
    if (before !== undefined && after !== undefined && before !== after) scrollBy(0, after - before);
  };
}

function inSight() {
  const items = [...document.querySelectorAll("main [data-live] > [data-key]")];
  const key = items.find((item) => item.getBoundingClientRect().bottom > 80)?.dataset.key;
  return () => key && document.querySelector(`main [data-live] > [data-key="${CSS.escape(key)}"]`);
}

/* A part that is swapped whole: focus and scroll positions stay. */
function swap(part, other) {
  const active = part.contains(document.activeElement) ? document.activeElement : null;
  const focus = active && (active.dataset.testid || active.id);
  const scrolled = [...part.querySelectorAll("[data-keeps-scroll]")].map((box) => [box.id, box.scrollLeft, box.scrollTop]);
  part.replaceChildren(...document.importNode(other, true).childNodes);
  for (const [id, left, top] of scrolled) {
    const box = document.getElementById(id);
    if (box) { box.scrollLeft = left; box.scrollTop = top; }
  }
  if (focus) part.querySelector(`[data-testid="${CSS.escape(focus)}"], #${CSS.escape(focus)}`)?.focus({ preventScroll: true });
}

const keyed = (part) => [...part.children].filter((child) => child.dataset.key);

function merge(part, other) {
  const known = new Map(keyed(part).map((child) => [child.dataset.key, child]));
  const isFilled = known.size > 0;
  let place = part.firstElementChild;
  for (const item of keyed(other)) {
    const mine = known.get(item.dataset.key);
    known.delete(item.dataset.key);
    if (mine && mine.outerHTML.replace(/ open=""/g, "") === item.outerHTML) {
      if (mine !== place) part.insertBefore(mine, place);
      place = mine.nextElementSibling;
      continue;
    }
    const copy = document.importNode(item, true);
    if (!mine) {
      part.insertBefore(copy, place);
      if (isFilled && "highlight" in part.dataset) highlight(copy);
      continue;
    }
    if (mine !== place) part.insertBefore(mine, place);
    place = mine.nextElementSibling;
    replace(mine, copy);
  }
  for (const gone of known.values()) remove(gone);
}

function highlight(item) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const wash = getComputedStyle(document.documentElement).getPropertyValue("--accent-wash");
  item.animate([{ backgroundColor: wash }, {}], { duration: 2000, easing: "ease-out" });
}

/* Opened drawers, typed words, choices and the focus go over to the new item. */
function replace(mine, copy) {
  for (const drawer of mine.querySelectorAll("details[open][data-key]")) {
    const again = copy.querySelector(`details[data-key="${drawer.dataset.key}"]`);
    if (again) again.open = true;
  }
  for (const typed of mine.querySelectorAll("input:not([type=hidden])")) {
    const again = typed.id && copy.querySelector(`#${CSS.escape(typed.id)}`);
    if (again) again.value = typed.value;
    if (again && typed.checked !== typed.defaultChecked) again.checked = typed.checked;
  }
  const active = mine.contains(document.activeElement) ? document.activeElement : null;
  const selector = active && (active.id ? `#${CSS.escape(active.id)}` : active.dataset.testid && `[data-testid="${active.dataset.testid}"]`);
  mine.replaceWith(copy);
  if (active) (copy.querySelector(selector || "h3") || copy.querySelector("h3"))?.focus({ preventScroll: true });
}

function remove(item) {
  const hadFocus = item.contains(document.activeElement);
  item.remove();
  if (hadFocus) document.getElementById("main").focus({ preventScroll: true });
}

/** Follow an event stream. Events within a pause share one refresh. An element #live says whether the stream is open. */
export function follow(address, pauseMilliseconds = 80) {
  const source = new EventSource(address);
  const kinds = new Set();
  let timer = null;
  const soon = (kind) => {
    kinds.add(kind);
    timer ??= setTimeout(() => {
      timer = null;
      const now = [...kinds];
      kinds.clear();
      if (held === 0) refresh(now);
    }, pauseMilliseconds);
  };
  const say = (state, words) => {
    document.documentElement.dataset.liveState = state;
    const place = document.getElementById("live");
    if (place) { place.dataset.state = state; place.textContent = words; }
  };
  source.addEventListener("open", () => {
    say("open", "Live");
    soon("*"); // what changed while nobody listened
  });
  source.addEventListener("error", () => say("lost", "Not connected; trying again"));
  source.addEventListener("message", (event) => soon(JSON.parse(event.data).kind));
  addEventListener("pagehide", () => source.close());
}
