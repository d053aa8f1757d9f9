// A browser and an editor of keys. A save names the index that was read: nobody's change is overwritten unseen.

import {path, put, remove, request} from "../api.js";
import {announce, confirmed, facts, h, repaint, table} from "../dom.js";
import {watch} from "../live.js";
import {act, filterBox, problem} from "./parts.js";

const VALUE_BYTES_MAX = 512 * 1024;

const encoded = (key) => key.split("/").map(encodeURIComponent).join("/");
const place = (key) => `kv/${encoded(key)}`;

function trail(key) {
  const parts = key.split("/");
  const folders = parts.slice(0, -1);
  return h("nav", {class: "trail", "aria-label": "Folders"}, h("a", {href: "kv/"}, "Keys"), folders.map((name, position) => [
    " / ", h("a", {href: place(`${parts.slice(0, position + 1).join("/")}/`)}, name || "(empty)")]));
}

/** A folder where the path ends in a slash or is empty, else one key. */
export function kv(view) {
  if (view.rest === "" || view.rest.endsWith("/")) folder(view);
  else entry(view);
}

function folder({main, rest: prefix, signal, go}) {
  const list = h("div");
  const messages = h("div");
  let keys = [];
  const box = filterBox("Filter keys", () => paint());
  const name = h("input", {id: "new-key", required: true, placeholder: "name, or folder/name", autocomplete: "off",
    spellcheck: "false"});
  const paint = () => {
    const found = keys.filter((key) => box.accepts("", key));
    repaint(list, table("Keys", [
      ["Key", (key) => h("a", {href: place(key)}, key.slice(prefix.length) || "(the folder's own key)")],
      ["Kind", (key) => (key.endsWith("/") ? "folder" : "key")],
    ], found, keys.length ? "No key matches." : "There are no keys here."));
    box.counted(found.length, keys.length);
  };
  const create = h("form", {class: "bar", onsubmit: (event) => {
    event.preventDefault();
    if (name.value) go(place(prefix + name.value));
  }}, h("label", {for: "new-key"}, "New key"), name, h("button", {type: "submit"}, "Create"));
  const erase = h("button", {type: "button", class: "danger", hidden: !prefix, onclick: async () => {
    if (await confirmed(`Delete every key under ${prefix}? This cannot be undone.`, "Delete all")) {
      await act(erase, messages, async () => {
        await remove(path("kv", prefix), {parameters: {recurse: ""}});
        announce(`Everything under ${prefix} was deleted`);
      });
    }
  }}, "Delete folder");
  main.append(trail(prefix), h("h1", {}, prefix || "Key/Value"), box.element, list, create, messages, erase);
  watch(path("kv", prefix), {
    parameters: {keys: "", separator: "/"},
    signal,
    accept: 404,
    show: (value) => {
      keys = value || [];
      paint();
    },
    failed: (error) => repaint(list, problem(error)),
  });
}

const decoder = new TextDecoder("utf-8", {fatal: true, ignoreBOM: true}); // a byte order mark stays in the text

/**
 * Return {text, lineEnd} of a value, or {why} where an editor would not give back the same bytes. Browsers make every
 * end of a line a line feed: `lineEnd` is what it was.
 */
function valueOf(row) {
  const bytes = Uint8Array.from(atob(row.Value || ""), (character) => character.charCodeAt(0));
  let text;
  try {
    text = decoder.decode(bytes);
  } catch {
    return {why: `(${bytes.length} bytes that are not text)`};
  }
  if (!text.includes("\r")) return {text, lineEnd: "\n"};
  const plain = text.replaceAll("\r\n", "\n");
  if (!plain.includes("\r") && plain.replaceAll("\n", "\r\n") === text) return {text: plain, lineEnd: "\r\n"};
  return {why: `(${bytes.length} bytes with line ends of several kinds, which a browser would change)`};
}

function entry({main, rest: key, signal, go}) {
  const content = h("textarea", {id: "value", rows: "14", spellcheck: "false", autocomplete: "off"});
  const about = h("div");
  const messages = h("div");
  const save = h("button", {type: "submit"}, "Save");
  const reload = h("button", {type: "button", hidden: true}, "Show the new value");
  const erase = h("button", {type: "button", class: "danger"}, "Delete");
  let known = null; // the row that the editor stands on; null: the key does not exist
  let newest = null;
  let shown = "";
  let lineEnd = "\n";
  let loaded = false;

  const describe = (row) => about.replaceChildren(row ? facts([
    ["Modified at index", String(row.ModifyIndex)], ["Created at index", String(row.CreateIndex)],
    ["Flags", row.Flags ? String(row.Flags) : ""], ["Lock index", row.LockIndex ? String(row.LockIndex) : ""],
    ["Held by session", row.Session ? h("a", {href: "sessions"}, row.Session) : ""],
  ]) : h("p", {class: "quiet"}, "This key does not exist yet."));

  const adopt = (row) => {
    known = row;
    const value = row ? valueOf(row) : {text: "", lineEnd: "\n"};
    const isText = value.why === undefined;
    content.readOnly = !isText;
    shown = isText ? value.text : value.why;
    lineEnd = value.lineEnd;
    content.value = shown;
    save.disabled = !isText;
    erase.hidden = !row;
    reload.hidden = true;
    save.textContent = row ? "Save" : "Create";
  };
  const isDirty = () => content.value !== shown;

  const take = (row) => {
    newest = row;
    describe(row);
    if (!loaded || !isDirty()) {
      loaded = true;
      adopt(row);
    } else if ((row ? row.ModifyIndex : 0) !== (known ? known.ModifyIndex : 0)) {
      messages.replaceChildren(h("p", {class: "notice", role: "alert"},
        "Somebody changed this key while you were editing. Saving now would be refused."));
      reload.hidden = false;
    }
  };

  reload.addEventListener("click", () => {
    messages.replaceChildren();
    adopt(newest);
  });
  erase.addEventListener("click", async () => {
    if (!(await confirmed(`Delete ${key}?`, "Delete"))) return;
    await act(erase, messages, async () => {
      const answer = await remove(path("kv", key), {parameters: {cas: known.ModifyIndex}});
      if (answer.trim() !== "true") throw new Error("The key has changed meanwhile; nothing was deleted");
      announce(`${key} was deleted`);
      go(place(key.slice(0, key.lastIndexOf("/") + 1)));
    });
  });
  const form = h("form", {onsubmit: (event) => {
    event.preventDefault();
    act(save, messages, async () => {
      const body = new TextEncoder().encode(content.value.replaceAll("\n", lineEnd));
      if (body.length > VALUE_BYTES_MAX) throw new Error(`A value has at most ${VALUE_BYTES_MAX} bytes`);
      const parameters = {cas: known ? known.ModifyIndex : 0, flags: known ? known.Flags : 0};
      const answer = await put(path("kv", key), {parameters, body});
      if (answer.trim() !== "true") throw new Error("The key has changed meanwhile; nothing was saved");
      const stored = await request("GET", path("kv", key), {accept: 404});
      shown = content.value;
      take(stored.status === 200 ? stored.json()[0] : null);
      messages.replaceChildren(h("p", {class: "done", role: "status"}, "Saved."));
    });
  }},
  h("label", {for: "value"}, "Value"), content,
  h("div", {class: "buttons"}, save, reload, erase));

  main.append(trail(key), h("h1", {}, key.split("/").at(-1)), about, form, messages);
  watch(path("kv", key), {
    signal,
    accept: 404,
    show: (rows) => take(rows ? rows[0] : null),
    failed: (error) => messages.replaceChildren(problem(error)),
  });
}
