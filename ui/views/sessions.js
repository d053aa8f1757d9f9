// Sessions and the locks they hold.

import {path, put} from "../api.js";
import {announce, confirmed, h, link, repaint, table} from "../dom.js";
import {watch} from "../live.js";
import {act, duration, filterBox, problem} from "./parts.js";

/** All sessions, with the keys that each holds. */
export function sessions({main, signal}) {
  const list = h("div");
  const messages = h("div");
  let rows = [];
  const box = filterBox("Filter by name, node or id", () => paint());
  const paint = () => {
    const found = rows.filter((row) => box.accepts("", row.Name || "", row.Node, row.ID));
    repaint(list, table("Sessions", [
      ["Session", (row) => [h("strong", {}, row.Name || "(no name)"), h("br"), h("code", {}, row.ID)]],
      ["Node", (row) => link(["nodes", row.Node], row.Node)],
      ["Time to live", (row) => row.TTL || "until its node or checks fail"],
      ["Lock delay", (row) => duration(row.LockDelay)],
      ["When it ends", (row) => `keys are ${row.Behavior === "delete" ? "deleted" : "released"}`],
      ["Locks", (row) => locks(row)],
      ["", (row) => destroy(row)],
    ], found, rows.length ? "No session matches." : "There are no sessions."));
    box.counted(found.length, rows.length);
  };
  const destroy = (row) => {
    const button = h("button", {type: "button", class: "danger", "aria-label": `End session ${row.ID}`, onclick: async () => {
      const question = `End session ${row.Name || row.ID}? The locks that it holds are lost.`;
      if (!(await confirmed(question, "End session"))) return;
      await act(button, messages, async () => {
        await put(path("session", "destroy", row.ID));
        announce(`Session ${row.Name || row.ID} has ended`);
      });
    }}, "End");
    return button;
  };
  main.append(h("h1", {}, "Sessions"), box.element, messages, list);
  watch("internal/ui/sessions", {
    signal,
    show: (value) => {
      rows = value;
      paint();
    },
    failed: (error) => repaint(list, problem(error)),
  });
}

function locks(row) {
  const keys = row.Keys || [];
  if (!keys.length) return h("span", {class: "quiet"}, "none");
  const links = keys.map((key) => h("li", {}, h("a", {href: `kv/${key.split("/").map(encodeURIComponent).join("/")}`}, key)));
  const more = row.KeysCount - keys.length;
  return h("ul", {class: "plain"}, links, more > 0 ? h("li", {class: "quiet"}, `and ${more} more`) : null);
}
