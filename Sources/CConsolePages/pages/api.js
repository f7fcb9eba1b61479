// The console's own API. Every request goes to the address that served this file.

import { cut } from "./format.js";

const base = new URL("../", import.meta.url);

/** The address of a document. Parameters that are empty are left out; lists are repeated. */
export function address(path, parameters = {}) {
  const url = new URL(path, base);
  for (const [key, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "" && one !== false) {
        url.searchParams.append(key, one === true ? "1" : one);
      }
    }
  }
  return url;
}

/** The answer that was asked for before the modules were loaded: see early.js. It is taken once. */
function asked(url) {
  const answer = globalThis.early?.get(url);
  globalThis.early?.delete(url);
  return answer;
}

/** Fetches a document of JSON; throws an error with the server's own words. */
export async function get(path, parameters, { signal, timeout = 30_000 } = {}) {
  const late = AbortSignal.timeout(timeout);
  let response;
  try {
    const url = address(path, parameters);
    response = await (asked(url.href)
      ?? fetch(url, { signal: signal ? AbortSignal.any([signal, late]) : late }));
    signal?.throwIfAborted();
  } catch (error) {
    if (signal?.aborted) throw error;
    // What was asked for early has a limit of its own.
    if (late.aborted || error.name === "TimeoutError") throw new Error(`No answer within ${timeout / 1000} s.`);
    throw new Error("The console can't be reached. Is it still running?");
  }
  const text = await response.text();
  let document = null;
  try {
    document = JSON.parse(text);
  } catch {
    if (response.ok) throw new Error("The answer is not JSON.");
  }
  if (!response.ok) {
    const why = typeof document?.error === "string" ? document.error : response.statusText;
    const error = new Error(`${cut(why || "no reason given", 1000)} (status ${response.status})`);
    error.status = response.status;
    throw error;
  }
  return document;
}

/** Server-sent events, while the page is seen: a browser has few connections to one address, and a hidden tab
 * would keep one. `handlers`: {tick, status, state}; `state` is told "live", "connecting" or "paused". */
export function live(signal, handlers) {
  let source = null;
  let retry = 0;
  const stop = () => {
    clearTimeout(retry);
    source?.close();
    source = null;
  };
  const hear = (kind) => (event) => {
    try {
      handlers[kind]?.(JSON.parse(event.data));
    } catch (error) {
      console.error(`an event that can't be read: ${error.message}`);
    }
  };
  const start = () => {
    if (source || document.hidden || signal.aborted) return;
    handlers.state?.("connecting");
    source = new EventSource(address("v1/live"));
    source.addEventListener("open", () => handlers.state?.("live"));
    source.addEventListener("tick", hear("tick"));
    source.addEventListener("status", hear("status"));
    source.addEventListener("error", () => {
      handlers.state?.("connecting");
      // It reconnects on its own unless the server has refused.
      if (source?.readyState === EventSource.CLOSED) {
        stop();
        retry = setTimeout(start, 3000);
      }
    });
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop();
    else start();
  }, { signal });
  signal.addEventListener("abort", stop);
  start();
  return {
    pause() {
      stop();
      handlers.state?.("paused");
    },
    resume: start,
  };
}
