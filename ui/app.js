// Chooses the view by the path, and ends what the one before was doing.

import {get, useDatacenter} from "./api.js";
import {announce, h} from "./dom.js";
import {beat} from "./live.js";
import {cluster} from "./views/cluster.js";
import {kv} from "./views/kv.js";
import {node, nodes} from "./views/nodes.js";
import {problem} from "./views/parts.js";
import {service, services} from "./views/services.js";
import {sessions} from "./views/sessions.js";

// Path below the base -> [title, view]. A view gets {main, rest, signal, go} and fills `main`.
const VIEWS = [
  [/^services\/(.+)$/, (name) => `Service ${name}`, service],
  [/^(?:services)?$/, () => "Services", services],
  [/^nodes\/(.+)$/, (name) => `Node ${name}`, node],
  [/^nodes$/, () => "Nodes", nodes],
  [/^kv\/?(.*)$/, (key) => (key ? `Key ${key}` : "Key/Value"), kv],
  [/^sessions$/, () => "Sessions", sessions],
  [/^cluster$/, () => "Cluster", cluster],
];

const base = new URL(document.baseURI);
let ending = new AbortController();

const decode = (text) => text.split("/").map((segment) => {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}).join("/");

function show({focus = true} = {}) {
  ending.abort();
  ending = new AbortController();
  const main = document.getElementById("main");
  main.replaceChildren();
  const place = decode(location.pathname.slice(base.pathname.length));
  const found = VIEWS.map(([pattern, title, view]) => [pattern.exec(place), title, view]).find(([match]) => match);
  const [match, title, view] = found || [["", ""], () => "Not found", notFound];
  const name = title(match[1] || "");
  document.title = `${name} · mesh`;
  const current = place.split("/")[0] || "services";
  for (const anchor of document.querySelectorAll("#navigation a")) {
    const here = anchor.getAttribute("href").replace("/", "") === current;
    if (here) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  beat(ending.signal);
  try {
    view({main, rest: match[1] || "", signal: ending.signal, go});
  } catch (error) {
    main.append(problem(error)); // a name that no request can carry
  }
  if (focus) {
    main.focus({preventScroll: true});
    scrollTo(0, 0);
    announce(name);
  }
}

function notFound({main}) {
  main.append(h("h1", {}, "Not found"), h("p", {}, "There is no page here. ", h("a", {href: "services"}, "Services")));
}

/** Go to another place of this page. */
function go(target) {
  history.pushState(null, "", new URL(target, base));
  show();
}

document.addEventListener("click", (event) => {
  const anchor = event.target.closest("a[href]");
  if (!anchor || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  const target = new URL(anchor.href);
  if (anchor.classList.contains("skip")) {
    event.preventDefault();
    document.getElementById("main").focus();
  } else if (target.origin === base.origin && target.pathname.startsWith(base.pathname)) {
    event.preventDefault();
    history.pushState(null, "", target);
    show();
  }
});
addEventListener("popstate", () => show());

async function offerDatacenters() {
  const select = document.getElementById("datacenter");
  try {
    const [self, names] = await Promise.all([get("agent/self"), get("catalog/datacenters")]);
    const own = self.Config.Datacenter;
    select.append(...names.map((name) => h("option", {value: name === own ? "" : name, selected: name === own}, name)));
    select.hidden = names.length < 2;
    select.addEventListener("change", () => {
      useDatacenter(select.value);
      show({focus: false});
    });
  } catch {
    select.hidden = true; // the views say what is wrong
  }
}

offerDatacenters();
show({focus: false});
