/* Live pages: an event says that something changed; the page is fetched anew and only what differs is swapped in.
   Items are matched by data-key, so what the reader looks at, types in or has the focus on stays where it is. */

let running = null;
let isWanted = false;

/** Fetch this page again and swap in what changed. Calls that come meanwhile share one more run. */
export function refresh() {
  isWanted = true;
  running ??= (async () => {
    while (isWanted) {
      isWanted = false;
      await fetchAndSwap();
    }
    running = null;
  })();
  return running;
}

async function fetchAndSwap() {
  const answer = await fetch(location.pathname + location.search, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!answer || !answer.ok) return;
  if (answer.redirected) { location.assign(answer.url); return; }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const stay = hold();
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (other) merge(part, other);
  }
  stay();
}

/* Hold still what the reader looks at: the field in use, or else the first item in sight. At the top of the page
   nothing has to be held: what is new comes into view. */
function hold() {
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

const keyed = (part) => [...part.children].filter((child) => child.dataset.key);

function merge(part, other) {
  const known = new Map(keyed(part).map((child) => [child.dataset.key, child]));
  let place = part.firstElementChild;
  for (const wanted of keyed(other)) {
    const mine = known.get(wanted.dataset.key);
    known.delete(wanted.dataset.key);
    if (mine && mine.outerHTML.replace(/ open=""/g, "") === wanted.outerHTML) {
      if (mine !== place) part.insertBefore(mine, place);
      place = mine.nextElementSibling;
      continue;
    }
    const copy = document.importNode(wanted, true);
    if (!mine) {
      part.insertBefore(copy, place);
      continue;
    }
    if (mine !== place) part.insertBefore(mine, place);
    place = mine.nextElementSibling;
    replace(mine, copy);
  }
  for (const gone of known.values()) remove(gone);
}

/* Opened drawers, typed words and the focus go over to the new item. */
function replace(mine, copy) {
  for (const drawer of mine.querySelectorAll("details[open][data-key]")) {
    const again = copy.querySelector(`details[data-key="${drawer.dataset.key}"]`);
    if (again) again.open = true;
  }
  for (const typed of mine.querySelectorAll("input:not([type=hidden])")) {
    const again = typed.id && copy.querySelector(`#${CSS.escape(typed.id)}`);
    if (again) again.value = typed.value;
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

/** Follow the page's event stream; what comes within a pause is shown by one refresh. */
export function follow(address, pauseMilliseconds = 60) {
  const source = new EventSource(address);
  let timer = null;
  const soon = () => { timer ??= setTimeout(() => { timer = null; refresh(); }, pauseMilliseconds); };
  let isFirst = true;
  source.addEventListener("open", () => {
    document.documentElement.dataset.liveState = "open";
    if (!isFirst) soon();
    isFirst = false;
  });
  source.addEventListener("message", soon);
  addEventListener("pagehide", () => source.close());
}
