// Talks to the agent that served this page, by its HTTP API.

const ANSWER_MS_MAX = 30_000; // agents hold a request without a leader for 7 s

let datacenter = "";

/** Ask another datacenter from now on, "" for the agent's own. */
export function useDatacenter(name) {
  datacenter = name;
}

/** An answer that is no success; `status` 0: none came. `outcome` of a write: refused, unknown or "". */
export class APIError extends Error {
  constructor(status, text, outcome = "") {
    super(text || `status ${status}`);
    this.status = status;
    this.outcome = outcome;
  }
}

/** Return a path below /v1 with its segments encoded; slashes inside of a key stay. */
export function path(...segments) {
  const names = segments.flatMap((segment) => segment.split("/"));
  if (names.some((name) => name === "." || name === "..")) {
    // A browser would resolve them, and something else would be read, or deleted.
    throw new APIError(400, "names with . or .. between slashes cannot be reached from a browser; use `mesh kv`");
  }
  return names.map(encodeURIComponent).join("/");
}

/**
 * Send a request to /v1/<target>; returns {status, index, text, json()}.
 * `accept` is another status that is no error. Throws APIError, also where no answer is there after `limit`
 * milliseconds, or AbortError where `signal` aborts.
 */
export async function request(method, target,
  {parameters = {}, body, signal, accept = 200, limit = ANSWER_MS_MAX} = {}) {
  const query = new URLSearchParams(parameters);
  if (datacenter && !query.has("dc") && !target.startsWith("agent/")) query.set("dc", datacenter);
  const text = query.toString();
  let response;
  let content;
  const ending = new AbortController();
  const end = () => ending.abort();
  const timer = setTimeout(end, limit);
  if (signal) signal.addEventListener("abort", end);
  if (signal && signal.aborted) end();
  try {
    const options = {method, body, signal: ending.signal, cache: "no-store"};
    response = await fetch(`/v1/${target}${text ? `?${text}` : ""}`, options);
    content = await response.text();
  } catch (error) {
    if (signal && signal.aborted) throw error;
    throw new APIError(0, "the agent does not answer", "unknown");
  } finally {
    clearTimeout(timer);
    if (signal) signal.removeEventListener("abort", end);
  }
  if (response.status !== 200 && response.status !== accept) {
    throw new APIError(response.status, content.trim(), response.headers.get("X-Mesh-Outcome") || "");
  }
  return {
    status: response.status,
    index: Number(response.headers.get("X-Consul-Index") || 0),
    text: content,
    json: () => (content ? JSON.parse(content) : null),
  };
}

/** GET, parsed. */
export async function get(target, options) {
  return (await request("GET", target, options)).json();
}

/** PUT or DELETE; returns the answer's text. */
export async function put(target, options) {
  return (await request("PUT", target, options)).text;
}

/** See `put`. */
export async function remove(target, options) {
  return (await request("DELETE", target, options)).text;
}

/** Say what an error means for somebody who pressed a button. */
export function explained(error) {
  const unknown = error.outcome === "unknown" ? " It may have happened all the same: look before you try again." : "";
  return `${error.message.replace(/\.$/, "")}.${unknown}`;
}
