// Makes elements. Text from the API only ever becomes text nodes and attribute values, never markup.

/** Return an element: h("td", {class: "n"}, "text", child, null). Properties that begin with "on" are listeners. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return a link to a view; segments are encoded one by one. */
export function link(segments, ...children) {
  return h("a", {href: segments.map(encodeURIComponent).join("/")}, ...children);
}

const ROWS_SHOWN = 200;

/** Put the first of `rows` into `body`, made by `make`; returns a button that shows more of them. */
function inSteps(rows, body, make) {
  let shown = 0;
  const more = h("button", {type: "button", class: "more", onclick: () => show()}, "");
  const show = () => {
    const next = rows.slice(shown, shown + ROWS_SHOWN);
    body.append(...next.map(make));
    shown += next.length;
    more.dataset.shown = shown;
    more.hidden = shown >= rows.length;
    more.textContent = `Show ${Math.min(ROWS_SHOWN, rows.length - shown)} more of ${rows.length - shown}`;
  };
  show();
  return more;
}

/** Return a table. `columns`: [title, (row) => cell content, class]. Long ones are shown in steps. */
export function table(caption, columns, rows, emptyText) {
  if (!rows.length) return h("p", {class: "empty"}, emptyText);
  const body = h("tbody");
  const more = inSteps(rows, body, (row) => h("tr", {}, columns.map(([title, cell, kind], position) =>
    position === 0
      ? h("th", {scope: "row", class: kind}, cell(row))
      : h("td", {class: kind, "data-title": title}, cell(row)))));
  return h("div", {class: "table"},
    h("table", {},
      h("caption", {class: "hidden"}, caption),
      h("thead", {}, h("tr", {}, columns.map(([title, , kind]) => h("th", {scope: "col", class: kind}, title)))),
      body),
    more);
}

/** Return cards, one a row, shown in steps as the rows of a table are. */
export function cards(rows, card, emptyText) {
  if (!rows.length) return h("p", {class: "empty"}, emptyText);
  const body = h("div", {class: "cards"});
  const more = inSteps(rows, body, card);
  return h("div", {}, body, more);
}

const nameOf = (element) =>
  [element.tagName, element.getAttribute("href"), element.getAttribute("aria-label"), element.textContent].join("\n");

/**
 * Replace what is in `box`. What was unfolded or shown in further steps stays so, and who stands on something with
 * the keyboard goes on standing on it. A <details> names itself by `data-key`.
 */
export function repaint(box, ...children) {
  const active = box.contains(document.activeElement) ? nameOf(document.activeElement) : null;
  const folds = new Map([...box.querySelectorAll("details[data-key]")].map((it) => [it.dataset.key, it]));
  const steps = [...box.querySelectorAll("button.more")].map((it) => Number(it.dataset.shown));
  box.replaceChildren(...children);
  box.querySelectorAll("button.more").forEach((more, position) => {
    while (!more.hidden && Number(more.dataset.shown) < (steps[position] || 0)) more.click();
  });
  for (const it of box.querySelectorAll("details[data-key]")) {
    const before = folds.get(it.dataset.key);
    if (before && before.dataset.status === it.dataset.status) it.open = before.open;
  }
  if (active !== null) {
    const same = [...box.querySelectorAll("a, button, summary, pre")].find((it) => nameOf(it) === active);
    if (same) same.focus({preventScroll: true});
  }
}

const STATUS = {
  passing: ["●", "passing"], alive: ["●", "alive"],
  warning: ["▲", "warning"], leaving: ["▲", "leaving"],
  critical: ["■", "critical"], failed: ["■", "failed"],
  maintenance: ["◆", "maintenance"], left: ["○", "left"], none: ["○", "no checks"],
};

/** Return a health mark: shape, word and colour say the same. */
export function status(name, text) {
  const [shape, word] = STATUS[name] || ["○", name];
  return h("span", {class: `status ${name}`}, h("span", {"aria-hidden": "true"}, shape), ` ${text ?? word}`);
}

/** Return tags as small labels. */
export function tags(names) {
  return (names || []).map((name) => h("span", {class: "tag"}, name));
}

/** Return a list of facts: [[name, value], …]; empty values are left out. */
export function facts(rows) {
  const kept = rows.filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return h("dl", {class: "facts"}, kept.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** Tell a screen reader, and nobody else, that something happened. */
export function announce(text) {
  document.getElementById("announcements").textContent = text;
}

/** Ask before something that cannot be undone; resolves to whether to go on. */
export function confirmed(question, action) {
  return new Promise((resolve) => {
    const dialog = h("dialog", {"aria-label": question},
      h("p", {}, question),
      h("div", {class: "buttons"},
        h("button", {type: "button", class: "danger", onclick: () => dialog.close("yes")}, action),
        h("button", {type: "button", autofocus: true, onclick: () => dialog.close("")}, "Cancel")));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
