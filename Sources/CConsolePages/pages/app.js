// The shell: which page is shown, the search, the status of the index, the keys.

import { get } from "./api.js";
import { failure, h, hideTip, isTyping, put } from "./dom.js";
import { count, cut, reserveColours, share, shown } from "./format.js";
import { parseSearch } from "./query.js";

// Each page is loaded when it is first opened, the rest when there is time.
const pages = {
  overview: () => import("./overview.js"), traces: () => import("./traces.js"),
    trace: () => import("./trace.js"),
  map: () => import("./map.js"), latency: () => import("./latency.js"), explain: () => import("./explain.js"),
};
const titles = { overview: "Overview", traces: "Traces", trace: "Trace", map: "Map", latency: "Latency",
  explain: "Explain" };
const find = (id) => document.getElementById(id);
const [main, banner, statusText, searchText, range, keys] =
  ["page", "banner", "status", "search-text", "range", "keys"].map(find);

let view = null;
let current = null;
let status = null;
let known = [];

/** The address of a page within the console; parameters that are empty are left out. */
function link(page, id, parameters = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "" && one !== false) query.append(key,
        one === true ? "1" : one);
    }
  }
  const text = query.toString();
  return `#/${page}${id ? `/${encodeURIComponent(id)}` : ""}${text ? `?${text}` : ""}`;
}

/** Parameters as an object of lists. */
function grouped(parameters) {
  return Object.fromEntries([...new Set(parameters.keys())].map((key) => [key, parameters.getAll(key)]));
}

/** Opens a page; if it is the one that is open, anew. */
function go(page, id, parameters) {
  const hash = link(page, id, parameters);
  if (hash === location.hash) route();
  else location.hash = hash;
}

function readHash() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, ...rest] = path.split("/");
  let id = rest.join("/");
  try {
    id = decodeURIComponent(id);
  } catch {
    // A broken escape: the text as it is.
  }
  return { page: Object.hasOwn(pages, page) ? page : "overview", id,
    parameters: new URLSearchParams(query ?? "") };
}

/** Opens the page that the address names. The page before is told by its signal to stop. */
function route() {
  const { page, id, parameters } = readHash();
  view?.abort.abort();
  hideTip();
  const abort = new AbortController();
  const isSame = current === page;
  current = page;
  view = {
    abort, signal: abort.signal, main, id, parameters, link,
    from: parameters.get("from") || range.value,
    to: parameters.get("to"),
    go,
    /** Notes parameters in the address without opening the page anew. */
    note(changed) {
      for (const [key, value] of Object.entries(changed)) {
        if (value === "") parameters.delete(key);
        else parameters.set(key, value);
      }
      history.replaceState(null, "", link(page, id, grouped(parameters)));
    },
    title: (text) => (document.title = `${cut(shown(text), 80)} – Tailrace`),
    status: () => status,
    /** The services' names, for choices; empty while they can't be had. */
    services: () => known,
    key: null,
    focusSearch: null,
  };
  const chosen = parameters.get("from");
  if (chosen && [...range.options].some((option) => option.value === chosen)) range.value = chosen;
  for (const anchor of find("nav").children) {
    const isCurrent = anchor.getAttribute("href") === `#/${page === "trace" ? "traces" : page}`;
    anchor.toggleAttribute("aria-current", isCurrent);
    if (isCurrent) anchor.setAttribute("aria-current", "page");
  }
  view.title(titles[page]);
  main.className = page;
  main.replaceChildren();
  if (!isSame) scrollTo(0, 0);
  load(view, pages[page]);
}

async function load(opened, page) {
  try {
    const module = await page();
    if (!opened.signal.aborted) module.open(opened);
    // What was asked for early is of no use later.
    globalThis.early?.clear();
  } catch (error) {
    if (!opened.signal.aborted) put(main, failure(error, route));
    console.error(error);
  }
}

function showStatus(document) {
  status = document;
  const index = document.index ?? {};
  const isReading = index.caught_up === false;
  const progress = Math.max(0, Math.min(1, index.progress ?? 0));
  const errors = Array.isArray(document.errors) ? document.errors : [];
  put(statusText, h(`span.lamp.${errors.length ? "bad" : isReading ? "busy" : "good"}`,
    { "aria-hidden": "true" }),
    isReading ? `reading ${share(Math.floor(progress * 100) / 100)}` : `${count(index.traces)} traces`);
  statusText.title = shown(`Tailrace ${document.version ?? ""}, group ${document.group ?? "–"}: `
    + `${count(index.traces)} traces and ${count(index.spans)} spans in the index`);
  banner.hidden = !isReading && !errors.length;
  put(banner,
    isReading && h("p", null, `The index is still reading (${share(Math.floor(progress * 100) / 100)}): `
      + "what you see isn't all of the last hour yet.",
    h("progress", { max: 1, value: progress, "aria-label": "progress of the index" })),
    errors.slice(-3).map((error) => h("p.problem", null, cut(shown(error), 400))));
}

/** Asks for the status: often while the index is reading. The overview hears it with its events. */
async function watchStatus() {
  if (!document.hidden) {
    try {
      showStatus(await get("v1/status", {}, { timeout: 10_000 }));
    } catch (error) {
      put(statusText, h("span.lamp.bad", { "aria-hidden": "true" }),
        error.status ? "failing" : "unreachable");
      statusText.title = shown(error.message);
    }
  }
  setTimeout(watchStatus, status?.index?.caught_up === false ? 2000 : 10_000);
}

const lines = [
  ["/", "search; in a trace: find spans"], ["g o", "overview"], ["g t", "traces"], ["g m", "map"],
  ["g l", "latency"], ["g x", "explain"], ["j k ↓ ↑", "next and previous in a list"],
  ["Enter", "open what is selected"], ["← →", "collapse and expand spans"],
    ["n N", "next and previous match"],
  ["e", "in a trace: where the error began"], ["c", "in a trace: critical path on or off"],
  ["s", "in a trace: correct clocks, or not"], ["Esc", "close, or leave the search"], ["?", "these keys"],
];

function showKeys() {
  put(keys, h("h2", { id: "keys-title" }, "Keys"),
    h("dl", null, lines.map(([key, text]) => h("div", null,
      h("dt", null, key.split(" ").map((one) => [h("kbd", null, one), " "])), h("dd", null, text)))),
    h("form", { method: "dialog" }, h("button", { autofocus: true }, "Close")));
  keys.showModal();
}

let prefix = 0;

function onKey(event) {
  if (keys.open || event.defaultPrevented) return;
  if (isTyping(event)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const page = { o: "overview", t: "traces", m: "map", l: "latency", x: "explain" }[event.key];
  if (event.timeStamp - prefix < 1200 && page) location.hash = link(page);
  else if (event.key === "g") return void (prefix = event.timeStamp);
  else if (event.key === "/") (view.focusSearch ?? (() => searchText.select()))();
  else if (event.key === "?") showKeys();
  else if (!view.key?.(event)) return;
  prefix = 0;
  event.preventDefault();
}

async function learnServices() {
  try {
    const document = await get("v1/services");
    known = (document.services ?? []).map((service) => String(service.name ?? ""));
    reserveColours(known.slice(0, 2000));
  } catch {
    // Pages that need them ask again, and say why they can't.
  }
}

find("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const { id, parameters } = parseSearch(searchText.value, known);
  searchText.blur();
  if (id) go("trace", id);
  else go("traces", null, { ...parameters, from: view.parameters.get("from") });
});
range.addEventListener("change", () => {
  const { page, id } = readHash();
  go(page, id, { ...grouped(view.parameters), to: null, from: range.value });
});
find("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // It lasts until the page is left, then.
  }
  dispatchEvent(new Event("theme"));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change",
  () => dispatchEvent(new Event("theme")));
find("help").addEventListener("click", showKeys);
find("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("status", (event) => showStatus(event.detail));
addEventListener("keydown", onKey);
addEventListener("hashchange", route);

// Colours are the same wherever one begins if the services are known first; but content doesn't wait long for
// them.
pages[readHash().page]().catch(() => {});
await Promise.race([learnServices(), new Promise((done) => setTimeout(done, 50))]);
route();
watchStatus();
setTimeout(() => Object.values(pages).forEach((page) => page().catch(() => {})), 1500);
