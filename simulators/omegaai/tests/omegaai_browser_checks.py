"""What a page has to hold for everybody, as scripts that run in the browser (WCAG 2.2)."""

FITS = "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"
"""Nothing makes the page wider than its window."""

CONTRAST = """all => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const line = (one) => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
    const [x, y, z] = [r, g, b].map((one) => line(one / 255));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parts(getComputedStyle(one).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  return all.map((element) => {
    const [a, b] = [light(parts(getComputedStyle(element).color)), light(behind(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
}"""
"""The contrast of each element's words with what is behind them."""

PROBLEMS = """() => {
  const found = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const say = (words, one) => found.push(`${words}: ${one.outerHTML.slice(0, 120)}`);
  const name = (one) => [one.getAttribute("aria-label"), one.textContent, one.title,
    ...(one.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.textContent),
  ].some((words) => words?.trim());
  const isShown = (one) => one.getClientRects().length > 0;
  const ids = all("[id]").map((one) => one.id);
  for (const one of all("[id]")) if (ids.filter((id) => id === one.id).length > 1) say("two with one id", one);
  if (all("h1").length !== 1) found.push(`${all("h1").length} first headings`);
  for (const one of all("input:not([type=hidden]), select, textarea")) {
    if (![...(one.labels ?? [])].some((label) => label.textContent.trim()) && !name(one)) say("no label", one);
  }
  for (const one of all("a, button, summary")) if (isShown(one) && !name(one)) say("no name", one);
  for (const one of all("[aria-describedby], [aria-labelledby]")) {
    const said = ["aria-describedby", "aria-labelledby"].map((key) => one.getAttribute(key) ?? "").join(" ");
    for (const id of said.trim().split(/ +/)) {
      if (!document.getElementById(id)) say(`nothing has the id ${id}`, one);
    }
  }
  for (const one of all("table")) if (!one.caption) say("no caption", one);
  for (const one of all("th")) if (!one.scope) say("a heading of nothing", one);
  for (const one of all("svg")) {
    const isNamed = one.getAttribute("role") === "img" && name(one);
    if (one.getAttribute("aria-hidden") !== "true" && !isNamed) say("a picture without words", one);
  }
  for (const one of all("button, summary, input:not([type=hidden]), select, .button, .chip, .filters a, .tabs a")) {
    const target = one.closest("label") ?? one;
    const { width, height } = target.getBoundingClientRect();
    if (isShown(one) && (width < 24 || height < 24)) say(`too small, ${width} by ${height}`, one);
  }
  return found;
}"""
"""What is wrong with names, labels, headings, references and the size of targets, a line each."""
