// One trace: what it is, why it was kept, its spans as a waterfall.

import { address, get } from "./api.js";
import { dot, h, load, name, put, service, state } from "./dom.js";
import { colour, count, cut, duration, exact, instant, share, shown } from "./format.js";
import { place, serviceShares, traceModel } from "./tracemodel.js";
import { detail, logLine } from "./spandetail.js";
import { waterfall } from "./waterfall.js";

export function open(view) {
  if (!/^[0-9a-f]{1,32}$/i.test(view.id)) {
    return void view.main.append(state("That is no trace id: it has 32 hexadecimal digits."));
  }
  const holder = h("div.body");
  view.main.append(holder);
  const fetcher = () => get(`v1/traces/${encodeURIComponent(view.id)}`, {}, view).catch((error) => {
    if (error.status === 404) return null;
    throw error;
  });
  load(holder, view, fetcher, (data) => (data ? show(view, holder, data) : showUnknown(view, holder)),
    "Fetching the spans…");
}

function showUnknown(view, holder) {
  const isReading = view.status()?.index?.caught_up === false;
  put(holder, state(isReading ? "It isn't in the index yet, which is still reading."
    : "It isn't in the index: it was not kept, or it is too old.",
    h("code", null, view.id), h("p", null, h("a", { href: view.link("explain", view.id) }, "Explain it"),
      ": the topics know more than the index.")));
}

function show(view, holder, data) {
  const model = traceModel(data);
  const root = model.root;
  if (root && !root.isGhost) view.title(`${root.service} ${root.operation}`);
  const head = h("section.panel", { "aria-label": "Trace" }, title(view, model), facts(model),
    why(view, data, model));
  if (data.missing) head.append(h("p.skewed", null, cut(shown(data.missing), 1000)));
  if (data.truncated) head.append(h("p.skewed", null,
    `The trace is larger than what is shown: ${exact(model.spans.length)} spans.`));
  if (!model.spans.length) return put(holder, head,
    state(data.missing ? "Its spans are gone from the log." : "No spans."), logs(data));
  const panel = h("aside.panel.detail", { "aria-label": "Span", hidden: true });
  const shares = h("div.legend");
  const chart = waterfall(view, model, (span) => showSpan(view, model, panel, chart, span));
  const showShares = () => put(shares, legend(model));
  showShares();
  const skew = skewNote(model, () => {
    place(model, !model.isCorrected);
    chart.rebuild();
    showShares();
  });
  put(holder, head, skew?.element, tools(view, model, chart), shares,
    h("div.trace-body", null, chart.element, panel), logs(data));
  view.key = (event) => {
    if (event.key === "e" && model.origin) chart.select(model.origin);
    else if (event.key === "c") chart.togglePath();
    else if (event.key === "s" && skew) skew.toggle();
    else if (event.key === "Escape" && !panel.hidden) chart.select(null);
    else return chart.key(event);
    return true;
  };
  const wanted = view.parameters.get("span");
  if (wanted) chart.select(model.spans.find((span) => span.id === wanted) ?? null);
  else chart.element.querySelector(".spans").focus({ preventScroll: true });
}

function title(view, { root }) {
  const copy = h("button", { type: "button", title: "Copy the trace's id", async onclick(event) {
    try {
      await navigator.clipboard.writeText(view.id);
      event.target.textContent = "copied";
    } catch {
      event.target.textContent = "can't copy here";
    }
  } }, "copy id");
  return h("header", null, h("h1.service", null,
    root && !root.isGhost ? [service(root.service, colour(root.service)),
      name(root.operation, "bdi.name.soft")] : "A trace without a root"),
  h("code.faint", null, view.id), copy,
  h("span.more.tools", null, h("a", { href: view.link("explain", view.id) }, "explain"),
    h("a", { href: address(`v1/traces/${encodeURIComponent(view.id)}`), download: `${view.id}.json` },
      "as JSON")));
}

function facts(model) {
  const errors = model.spans.filter((span) => span.isError).length;
  const fact = (value, text) => h("span", null, h("b", null, value), ` ${text}`);
  const orphans = model.spans.filter((span) => span.isOrphan).length;
  return h("p.facts", null, fact(instant(model.first), ""), fact(duration(model.high - model.low), "in all"),
    fact(exact(model.spans.length), "spans"),
      fact(exact(new Set(model.spans.map((span) => span.service)).size), "services"),
    errors ? h("span.bad-text", null, `${exact(errors)} ${errors === 1 ? "span" : "spans"} with ERROR`)
      : fact("no", "errors"),
    orphans ? h("span.slow-text", null, `${exact(orphans)} without their parent`) : null,
    model.spans.some((span) => span.isCut) && h("span.slow-text", null, "parents in a circle"),
    model.spans.some((span) => span.isDouble) && h("span.slow-text", null, "a span id is there twice"));
}

/** Why it was kept, from its decisions: the last final one says how it ended. */
function why(view, data) {
  const decisions = data.decisions ?? [];
  const last = decisions.find((one) => one.revised) ?? decisions.findLast((one) => one.final)
    ?? decisions.at(-1);
  if (!last) return h("p.why.soft", null, "No decision on it is in the index.");
  const early = decisions.find((one) => !one.final && one.verdict === "keep");
  const reasons = [last.reasons ?? last.reason ?? last.policy].flat().filter(Boolean);
  const triggers = { root: "closed after its root, no parent missing", wait: "closed after the whole wait",
    eager: "a span made it certain",
    limit: "it went over a limit", memory: "closed as memory ran short", late: "a span came late",
      recall: "it was recalled" };
  const kept = last.verdict !== "drop";
  return h("div.why", null, h("b", null, kept ? "Kept by" : "Dropped"),
    reasons.map((reason) => h("span.mark.note", null, h("bdi", null, cut(shown(reason), 100)))),
    h("span.soft", null, `${triggers[last.trigger] ?? shown(last.trigger)}`,
      typeof last.adjusted_count === "number" && kept
        ? ` · stands for ${count(last.adjusted_count)} ${last.adjusted_count === 1 ? "trace" : "traces"}`
        : "",
      early && early !== last ? ` · certain early, at ${instant(early.at_ns).slice(11)}` : "",
      last.revised ? " · dropped at first, then read again from the log" : "",
      last.at_ns ? ` · decided ${instant(last.at_ns)}` : "",
      last.partition !== undefined ? ` · partition ${last.partition}` : ""));
}

function skewNote(model, toggle) {
  if (!model.skewed) return null;
  const button = h("button", { type: "button", "aria-pressed": "false" }, "Correct the clocks");
  const result = {
    toggle() {
      toggle();
      button.setAttribute("aria-pressed", String(model.isCorrected));
      button.textContent = model.isCorrected ? "Show as recorded" : "Correct the clocks";
    },
  };
  button.addEventListener("click", result.toggle);
  result.element = h("div.skewed", null, h("span", null,
    `${exact(model.skewed)} ${model.skewed === 1 ? "call lies" : "calls lie"} outside the caller's span: `
    + `the clocks of their hosts seem to differ, by up to ${duration(model.skewMost)}.`), button);
  return result;
}

function tools(view, model, chart) {
  const found = h("span.soft", { role: "status" });
  const input = h("input", { type: "search", placeholder: "Find spans  (/)", "aria-label": "Find spans",
    spellcheck: "false",
    autocomplete: "off", maxlength: 500,
    oninput() {
      const matches = chart.find(input.value);
      found.textContent = input.value ? `${exact(matches)} ${matches === 1 ? "match" : "matches"}` : "";
    },
    onkeydown(event) {
      if (event.key === "Enter") chart.nextMatch(event.shiftKey ? -1 : 1);
    } });
  view.focusSearch = () => input.select();
  const path = h("button", { type: "button", "aria-pressed": "true", onclick: () => chart.togglePath() },
    "Critical path");
  chart.onPath = (isOn) => path.setAttribute("aria-pressed", String(isOn));
  return h("div.tools", null, input, found, path,
    model.origin && h("button", { type: "button", onclick: () => chart.select(model.origin) },
      "Where the error began"),
    h("button", { type: "button", onclick: () => chart.collapseAll() }, "Collapse"),
    h("button", { type: "button", onclick: () => chart.expandAll() }, "Expand"),
    h("button", { type: "button", onclick: () => chart.zoom(null) }, "Whole time"));
}

/** The services; with their share of the critical path, which tells where the time went. */
function legend(model) {
  const services = serviceShares(model);
  const total = model.pathDuration;
  return [services.slice(0, 24).map((one) => h("span.service",
    { title: `${exact(one.spans)} spans, ${duration(one.onPath)} on the critical path` },
    dot(colour(one.name)), name(one.name), one.onPath > 0 && h("b", null, share(one.onPath / total)))),
  services.length > 24 && h("span.faint", null, `and ${exact(services.length - 24)} more services`),
  // Clocks that differ leave gaps of their own: a share worth telling is more.
  model.pathWaits > total / 100 && h("span.faint", null, "no span ran ",
    h("b", null, share(model.pathWaits / total)))];
}

function showSpan(view, model, panel, chart, span) {
  panel.hidden = !span;
  view.note({ span: span?.id ?? "" });
  if (!span) return;
  put(panel, h("button.close", { type: "button", "aria-label": "Close", onclick: () => chart.select(null) },
    "✕"),
    detail(view, model, span));
  panel.scrollTop = 0;
}

function logs(data) {
  if (!data.logs?.length) return null;
  return h("details.panel", null, h("summary", null,
    `${exact(data.logs.length)} log ${data.logs.length === 1 ? "record" : "records"}`),
    data.logs.slice(0, 500).map(logLine), data.logs.length > 500 && h("p.faint", null, "and more"));
}
