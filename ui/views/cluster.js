// The servers and how they stand in consensus, and everybody that gossip knows.

import {facts, h, repaint, status, table} from "../dom.js";
import {poll} from "../live.js";
import {filterBox, problem} from "./parts.js";

const MEMBER_STATES = ["none", "alive", "leaving", "left", "failed"];
const TARGETS = ["operator/autopilot/state", "operator/raft/configuration", "agent/members", "agent/self"];

/** Raft servers and members; a look every two seconds, for these are no blocking queries. */
export function cluster({main, signal}) {
  const summary = h("div");
  const servers = h("div");
  const members = h("div");
  let all = [];
  const box = filterBox("Filter members", () => paint(), [["", "All"], ...MEMBER_STATES.slice(1).map((name) => [name, name])]);
  const paint = () => {
    const found = all.filter((row) => box.accepts(MEMBER_STATES[row.Status], row.Name, row.Addr));
    repaint(members, table("Members", [
      ["Member", (row) => row.Name],
      ["State", (row) => status(MEMBER_STATES[row.Status] || "none")],
      ["Address", (row) => `${row.Addr}:${row.Port}`],
      ["Kind", (row) => (row.Tags.role === "consul" ? "server" : "agent")],
      ["Build", (row) => (row.Tags.build || "").split(":")[0]],
    ], found, all.length ? "No member matches." : "No members are known."));
    box.counted(found.length, all.length);
  };
  main.append(h("h1", {}, "Cluster"), summary, h("h2", {}, "Servers"), servers, h("h2", {}, "Members"), box.element, members);
  poll(TARGETS, {
    signal,
    show: ([state, configuration, found, self]) => {
      summary.replaceChildren(state && configuration ? overview(state, configuration, self) : noLeader());
      repaint(servers, configuration ? serverTable(state, configuration) : "");
      all = (found || []).sort((one, other) => one.Name.localeCompare(other.Name));
      paint();
    },
    failed: (error) => summary.replaceChildren(problem(error)),
  });
}

function noLeader() {
  return h("p", {class: "notice", role: "alert"},
    "The servers do not tell how they are: perhaps none leads at this moment. Writes wait until one does.");
}

function overview(state, configuration, self) {
  const leader = configuration.Servers.find((server) => server.Leader);
  return facts([
    ["Health", status(state.Healthy ? "passing" : "critical", state.Healthy ? "healthy" : "not healthy")],
    ["Leader", leader ? leader.Node : "none"],
    ["Servers that may fail", String(state.FailureTolerance)],
    ["This agent", self ? `${self.Config.NodeName} (${self.Config.Datacenter}, ${self.Config.Version})` : ""],
  ]);
}

function serverTable(state, configuration) {
  const known = (state && state.Servers) || {};
  return table("Servers", [
    ["Server", (row) => row.Node],
    ["Role", (row) => (row.Leader ? "leader" : row.Voter ? "voter" : "stands by")],
    ["Health", (row) => (known[row.ID] ? status(known[row.ID].Healthy ? "passing" : "critical",
      known[row.ID].Healthy ? "healthy" : "not healthy") : status("none", "unknown"))],
    ["Address", (row) => row.Address],
    ["Last contact", (row) => (known[row.ID] ? known[row.ID].LastContact : ""), "number"],
    ["Last index", (row) => (known[row.ID] ? String(known[row.ID].LastIndex) : ""), "number"],
    ["Term", (row) => (known[row.ID] ? String(known[row.ID].LastTerm) : ""), "number"],
  ], configuration.Servers, "No server is in the configuration.");
}
