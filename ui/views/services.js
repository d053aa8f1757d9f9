// Services with their health, and the instances of one.

import {path} from "../api.js";
import {cards, facts, h, link, repaint, status, table, tags} from "../dom.js";
import {watch} from "../live.js";
import {filterBox, healthOf, problem} from "./parts.js";

const WORST_FIRST = ["critical", "warning", "maintenance", "passing", "none"];

const stateOf = (row) =>
  row.ChecksCritical ? "critical" : row.ChecksWarning ? "warning" : row.ChecksPassing ? "passing" : "none";

/** All services: name, health, instances, tags. */
export function services({main, signal}) {
  const list = h("div");
  let rows = [];
  const box = filterBox("Filter by name or tag", () => paint(), [["", "All"], ["critical", "Critical"],
    ["warning", "Warning"], ["passing", "Passing"]]);
  const paint = () => {
    const found = rows.filter((row) => box.accepts(stateOf(row), row.Name, ...(row.Tags || [])));
    repaint(list, table("Services", [
      ["Service", (row) => link(["services", row.Name], row.Name)],
      ["Health", (row) => status(stateOf(row), counted(row))],
      ["Nodes", (row) => String((row.Nodes || []).length), "number"],
      ["Tags", (row) => tags(row.Tags)],
    ], found, rows.length ? "No service matches." : "No services are registered."));
    box.counted(found.length, rows.length);
  };
  main.append(h("h1", {}, "Services"), box.element, list);
  watch("internal/ui/services", {
    signal,
    show: (value) => {
      rows = [...value].sort((one, other) =>
        WORST_FIRST.indexOf(stateOf(one)) - WORST_FIRST.indexOf(stateOf(other)) || one.Name.localeCompare(other.Name));
      paint();
    },
    failed: (error) => repaint(list, problem(error)),
  });
}

function counted(row) {
  const parts = [[row.ChecksCritical, "critical"], [row.ChecksWarning, "warning"], [row.ChecksPassing, "passing"]];
  const text = parts.filter(([count]) => count).map(([count, word]) => `${count} ${word}`).join(", ");
  return text || "no checks";
}

/** One service: its instances with their checks. */
export function service({main, rest: name, signal}) {
  const list = h("div");
  main.append(h("p", {class: "trail"}, h("a", {href: "services"}, "Services")), h("h1", {}, name), list);
  watch(path("health", "service", name), {
    signal,
    show: (rows) => repaint(list, cards(rows, instance, "This service has no instances (any more).")),
    failed: (error) => repaint(list, problem(error)),
  });
}

function instance({Node: node, Service: it, Checks: checks}) {
  const address = it.Address || node.Address;
  const meta = Object.entries(it.Meta || {});
  return h("article", {class: "card"},
    h("h2", {}, it.ID, " ", status(healthOf(checks))),
    facts([
      ["Node", link(["nodes", node.Node], node.Node)],
      ["Address", it.Port ? `${address.includes(":") ? `[${address}]` : address}:${it.Port}` : address],
      ["Tags", (it.Tags || []).length ? h("span", {}, tags(it.Tags)) : ""],
      ["Kind", it.Kind || ""],
      ["Destination", (it.Proxy && it.Proxy.DestinationServiceName) || ""],
      ["Meta", meta.length ? h("span", {}, meta.map(([key, value]) => h("span", {class: "tag"}, `${key}=${value}`))) : ""],
    ]),
    checkList(checks));
}

/** Checks with their output, the worst first. */
export function checkList(checks) {
  const order = ["critical", "warning", "passing"];
  const sorted = [...checks].sort((one, other) => order.indexOf(one.Status) - order.indexOf(other.Status));
  return h("ul", {class: "checks"}, sorted.map((check) => h("li", {},
    h("details", {open: check.Status !== "passing", "data-key": `${check.Node}/${check.CheckID}`, "data-status": check.Status},
      h("summary", {}, status(check.Status), " ", h("strong", {}, check.Name || check.CheckID),
        check.ServiceID ? "" : h("span", {class: "quiet"}, " node")),
      check.Notes ? h("p", {}, check.Notes) : null,
      h("pre", {tabindex: "0"}, check.Output || "(no output)")))));
}
