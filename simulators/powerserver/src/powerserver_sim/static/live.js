/* Live pages: a commit on the server names what changed; parts of the page that show it are fetched anew. */

const parts = () => [...document.querySelectorAll("[data-live]")];
const waiting = new Map();
let held = 0;

/** Keep the page as it is while somebody drags; what changed meanwhile is shown on release. */
export function hold() { held += 1; }
export function release() {
  held = Math.max(0, held - 1);
  if (held === 0) refresh();
}

/** Fetch this page again and swap the live parts in, or only those that show one of `kinds`. */
export async function refresh(kinds = null) {
  const wanted = parts().filter((part) => !kinds || part.dataset.live.split(" ").some((kind) => kinds.has(kind)));
  if (wanted.length === 0) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (held > 0) return;
  for (const part of wanted) {
    const other = fresh.getElementById(part.id);
    if (other && other.innerHTML !== part.innerHTML) swap(part, other);
  }
  document.dispatchEvent(new CustomEvent("live:refreshed"));
}

/* Focus and scroll positions stay where the reader left them. */
function swap(part, other) {
  const active = part.contains(document.activeElement) ? document.activeElement : null;
  const focus = active && (active.dataset.testid || active.id);
  const scrolled = [...part.querySelectorAll("[data-keeps-scroll]")].map((box) => [box.id, box.scrollLeft, box.scrollTop]);
  part.replaceChildren(...document.importNode(other, true).childNodes);
  for (const [id, left, top] of scrolled) {
    const box = document.getElementById(id);
    if (box) { box.scrollLeft = left; box.scrollTop = top; }
  }
  if (focus) {
    const again = part.querySelector(`[data-testid="${CSS.escape(focus)}"], #${CSS.escape(focus)}`);
    if (again) again.focus({ preventScroll: true });
  }
}

function note(kind) {
  if (waiting.size === 0) {
    setTimeout(() => {
      const kinds = new Set(waiting.keys());
      waiting.clear();
      if (held === 0) refresh(kinds);
    }, 80);
  }
  waiting.set(kind, true);
}

if (parts().length > 0) {
  const source = new EventSource("/events");
  let isFirst = true;
  source.addEventListener("open", () => {
    document.documentElement.dataset.liveState = "open";
    if (!isFirst) refresh();
    isFirst = false;
  });
  source.addEventListener("message", (event) => note(JSON.parse(event.data).kind));
  addEventListener("pagehide", () => source.close());
}
