// Nodes with their health, and what runs on one.

import {path} from "../api.js";
import {facts, h, link, repaint, status, table, tags} from "../dom.js";
import {watch} from "../live.js";
import {filterBox, healthOf, problem} from "./parts.js";
import {checkList} from "./services.js";

/** All nodes. */
export function nodes({main, signal}) {
  const list = h("div");
  let rows = [];
  const box = filterBox("Filter by name or address", () => paint(), [["", "All"], ["critical", "Critical"],
    ["warning", "Warning"], ["maintenance", "Maintenance"], ["passing", "Passing"]]);
  const paint = () => {
    const found = rows.filter((row) => box.accepts(healthOf(row.Checks || []), row.Node, row.Address));
    repaint(list, table("Nodes", [
      ["Node", (row) => link(["nodes", row.Node], row.Node)],
      ["Health", (row) => status(healthOf(row.Checks || []))],
      ["Address", (row) => row.Address],
      ["Services", (row) => String((row.Services || []).length), "number"],
      ["ID", (row) => h("code", {}, (row.ID || "").split("-")[0])],
    ], found, rows.length ? "No node matches." : "No nodes are registered."));
    box.counted(found.length, rows.length);
  };
  main.append(h("h1", {}, "Nodes"), box.element, list);
  watch("internal/ui/nodes", {
    signal,
    show: (value) => {
      rows = value;
      paint();
    },
    failed: (error) => repaint(list, problem(error)),
  });
}

/** One node: its services and checks. */
export function node({main, rest: name, signal}) {
  const content = h("div");
  main.append(h("p", {class: "trail"}, h("a", {href: "nodes"}, "Nodes")), h("h1", {}, name), content);
  watch(path("internal", "ui", "node", name), {
    signal,
    accept: 404,
    show: (row) => repaint(content, ...(row ? nodeParts(row) : [h("p", {class: "empty"}, "This node is unknown.")])),
    failed: (error) => repaint(content, problem(error)),
  });
}

function nodeParts(row) {
  const checks = row.Checks || [];
  const services = row.Services || [];
  const meta = Object.entries(row.Meta || {}).filter(([, value]) => value);
  return [
    facts([
      ["Health", status(healthOf(checks))],
      ["Address", row.Address],
      ["ID", row.ID ? h("code", {}, row.ID) : ""],
      ["Meta", meta.length ? h("span", {}, meta.map(([key, value]) => h("span", {class: "tag"}, `${key}=${value}`))) : ""],
    ]),
    h("h2", {}, "Services"),
    table("Services on this node", [
      ["Service", (it) => link(["services", it.Service], it.Service)],
      ["ID", (it) => it.ID],
      ["Health", (it) => status(healthOf(checks.filter((check) => check.ServiceID === it.ID)))],
      ["Port", (it) => (it.Port ? String(it.Port) : ""), "number"],
      ["Tags", (it) => tags(it.Tags)],
    ], services, "No service runs here."),
    h("h2", {}, "Checks of the node"),
    checkList(checks.filter((check) => !check.ServiceID)),
  ];
}
