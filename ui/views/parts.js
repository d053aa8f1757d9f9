// What several views show.

import {h} from "../dom.js";
import {explained} from "../api.js";

/** Return how an instance or a node stands as a whole. */
export function healthOf(checks) {
  if (!checks.length) return "none";
  if (checks.some((check) => /^_(node|service)_maintenance/.test(check.CheckID))) return "maintenance";
  return ["critical", "warning"].find((name) => checks.some((check) => check.Status === name)) || "passing";
}

/** Return a notice about an error of the API. */
export function problem(error) {
  return h("p", {class: "notice", role: "alert"}, explained(error));
}

/** A search field and, where `states` are given, a choice of them; `accepts(state, ...texts)` says what to show. */
export function filterBox(label, changed, states = []) {
  const search = h("input", {type: "search", placeholder: label, "aria-label": label, oninput: changed,
    autocomplete: "off", spellcheck: "false"});
  const choice = h("select", {"aria-label": "State", onchange: changed},
    states.map(([value, text]) => h("option", {value}, text)));
  const count = h("span", {class: "quiet", role: "status"});
  return {
    element: h("div", {class: "bar"}, search, states.length ? choice : null, count),
    accepts: (state, ...texts) => {
      if (states.length && choice.value && choice.value !== state) return false;
      const wanted = search.value.trim().toLowerCase();
      return !wanted || texts.some((text) => text.toLowerCase().includes(wanted));
    },
    counted: (shown, all) => {
      const text = shown === all ? `${all}` : `${shown} of ${all}`;
      if (count.textContent !== text) count.textContent = text;
    },
  };
}

/** Return nanoseconds as people write them. */
export function duration(nanoseconds) {
  const seconds = nanoseconds / 1e9;
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

/** Run what a button asks for; its errors appear in `messages`. The button cannot be pressed twice meanwhile. */
export async function act(button, messages, action) {
  button.disabled = true;
  messages.replaceChildren();
  try {
    await action();
  } catch (error) {
    messages.replaceChildren(problem(error));
  } finally {
    button.disabled = false;
  }
}
