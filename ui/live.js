// Keeps what is shown up to date: blocking queries where the API has them, else a look every few seconds.

import {APIError, request} from "./api.js";

const WAIT = "55s";
const ANSWER_MS_MAX = 75_000; // agents add a sixteenth at most; one that is silent for longer stands still
const PAUSE_MS = 1000;
const PAUSE_MS_MAX = 5000;
const POLL_MS = 2000;
const NO_LEADER = "No cluster leader"; // in the errors of agents
const CHANGES_MS_MIN = 250; // a busy catalog repaints four times a second at most

const BEAT_MS = 5000;
const BEAT_MS_MAX = 10_000;

const troubled = new Map(); // loop -> its error

function report(loop, error) {
  if (error) troubled.set(loop, error);
  else troubled.delete(loop);
  const shown = document.getElementById("connection");
  const leaderless = [...troubled.values()].some((it) => it.message.includes(NO_LEADER));
  const text = leaderless ? "No leader" : troubled.size ? "Reconnecting…" : "Live";
  if (shown.textContent !== text) shown.textContent = text;
  shown.classList.toggle("lost", troubled.size > 0);
}

const sleep = (milliseconds, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, milliseconds);
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    resolve();
  }, {once: true});
});

/** Wait until the page can be seen: what nobody looks at costs the agent nothing. */
const visible = (signal) => new Promise((resolve) => {
  if (!document.hidden || signal.aborted) return resolve();
  const look = () => {
    if (document.hidden && !signal.aborted) return;
    document.removeEventListener("visibilitychange", look);
    resolve();
  };
  document.addEventListener("visibilitychange", look);
  signal.addEventListener("abort", look, {once: true});
  return undefined;
});

/** Do `once`, which returns how many milliseconds to rest, again and again until `signal` aborts. */
async function repeat(signal, once, failed) {
  const loop = {};
  let pause = PAUSE_MS;
  while (!signal.aborted) {
    await visible(signal);
    if (signal.aborted) break;
    try {
      const rest = await once();
      report(loop, null);
      pause = PAUSE_MS;
      if (rest > 0) await sleep(rest, signal);
    } catch (error) {
      if (error.name === "AbortError") break;
      // A refusal is the view's to show; silence and overload are the connection's.
      if (error.status >= 400 && error.status < 500 && error.status !== 429) failed(error);
      else report(loop, error);
      await sleep(pause * (0.75 + Math.random() / 2), signal);
      pause = Math.min(pause * 2, PAUSE_MS_MAX);
    }
  }
  report(loop, null);
}

/**
 * Call `show(value, index)` with each new answer of a blocking query until `signal` aborts.
 * `accept`: a status besides 200 that is an answer, given as null. An index that falls starts over.
 */
export function watch(target, {parameters = {}, signal, accept, show, failed = () => {}}) {
  let index = 0;
  let before; // nothing yet: a key that does not exist is news, too
  return repeat(signal, async () => {
    const begun = performance.now();
    const asked = index ? {...parameters, index, wait: WAIT} : parameters;
    const answer = await request("GET", target, {parameters: asked, signal, accept, limit: ANSWER_MS_MAX});
    index = answer.index < index ? 0 : Math.max(answer.index, 1);
    const content = answer.status === 200 ? answer.text : null;
    if (content !== before) {
      before = content;
      show(content === null ? null : answer.json(), answer.index);
    }
    return CHANGES_MS_MIN - (performance.now() - begun);
  }, failed);
}

/** Call `show(values)` every few seconds with what all of `targets` answer, null for what failed. */
export function poll(targets, {signal, show, failed = () => {}}) {
  let before = "";
  return repeat(signal, async () => {
    const answers = await Promise.allSettled(targets.map((target) => request("GET", target, {signal, accept: 429})));
    if (signal.aborted) return;
    const lost = answers.find((answer) => answer.status === "rejected" && answer.reason.status === 0);
    if (lost) throw lost.reason;
    const texts = answers.map((answer) => (answer.status === "fulfilled" ? answer.value.text : ""));
    if (texts.join("\n") !== before) {
      before = texts.join("\n");
      show(texts.map((text) => (text ? JSON.parse(text) : null)));
    }
    return POLL_MS;
  }, failed);
}

/** Ask every few seconds whether somebody leads: a blocking query, while it waits, does not tell that it is of no use. */
export function beat(signal) {
  return repeat(signal, async () => {
    const answer = await request("GET", "status/leader", {signal, limit: BEAT_MS_MAX});
    if (!answer.json()) throw new APIError(500, NO_LEADER);
    return BEAT_MS;
  }, () => {});
}
