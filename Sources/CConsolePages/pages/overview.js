// What comes in and what is kept, against the budget; lag, memory, recalls; the newest traces as they are
// kept.

import { get, live } from "./api.js";
import { legend, timeChart } from "./chart.js";
import { h, load, name, put, service, state } from "./dom.js";
import { bytes, clock, colour, count, duration, exact, milliseconds, percentage, reasonColour, share, shown }
  from "./format.js";
import { marks, reasonName } from "./marks.js";

const UNITS = { kept: ["traces", count], spans: ["spans", count], bytes: ["bytes", bytes] };
const STEPS = 60;
const LIVE_MAX = 40;

const sum = (values) => (values ?? []).reduce((total, value) => total + (value ?? 0), 0);

export function open(view) {
  const parts = {
    tiles: h("section.tiles", { "aria-label": "Figures" }),
    kept: timeChart(view, "bars", "what was kept over time, by reason"),
    budget: timeChart(view, "lines", "share of traces and spans kept over time, and the budget"),
    keptLegend: h("div"), budgetLegend: h("div"), services: h("div.scroll"), list: h("ol.live-list"),
    state: h("span.faint"), now: h("span.soft"), unit: view.parameters.get("unit") ?? "kept", view,
  };
  if (!UNITS[parts.unit]) parts.unit = "kept";
  const holder = h("div");
  view.main.append(holder);
  let isShown = false;
  const fetcher = () => get("v1/overview", { from: view.from, to: view.to, steps: STEPS }, view);
  const show = (data) => {
    if (!isShown) put(holder, ...page(parts)).className = "body";
    isShown = true;
    parts.data = data;
    showFigures(parts);
  };
  load(holder, view, fetcher, show);
  follow(view, parts, () => isShown && fetcher().then(show, () => {}));
}

function page(parts) {
  const units = h("div.segments", { role: "group", "aria-label": "Unit" },
    Object.entries(UNITS).map(([key, [text]]) =>
    h("button", { type: "button", "aria-pressed": String(key === parts.unit), onclick(event) {
      parts.unit = key;
      parts.view.note({ unit: key });
      for (const button of units.children) button.setAttribute("aria-pressed",
        String(button === event.target));
      showFigures(parts);
    } }, text)));
  parts.pause = h("button", { type: "button" }, "Pause");
  parts.pause.addEventListener("click", () => parts.toggle());
  return [
    parts.tiles,
    h("div.columns", null,
      h("section.panel", null, h("header", null, h("h2", null, "Kept, by reason"), parts.keptLegend,
        h("span.more", null, units)),
        parts.kept),
      h("section.panel", null, h("header", null, h("h2", null, "Share kept, against the budget"),
        parts.budgetLegend),
        parts.budget)),
    h("div.columns.wide-left", null,
      h("section.panel", null, h("header", null, h("h2", null, "Services")), parts.services),
      h("section.panel", null, h("header", null, h("h2", null, "Newest kept"), parts.state, parts.now,
        h("span.more", null, parts.pause)), parts.list)),
  ];
}

function tile(title, value, small, ...more) {
  return h("div.tile", null, h("h3", null, title),
    h("div.value", null, value, small && h("small", null, ` ${small}`)),
    h("div.soft", null, more));
}

function meter(part, colourName) {
  const width = `${Math.max(0, Math.min(1, part || 0)) * 100}%`;
  return h("span.meter", { style: { "--colour": colourName ?? "var(--accent)" } },
    h("i", { style: { width } }));
}

function showTiles(parts) {
  const { data, view } = parts;
  const seconds = Math.max(1, (milliseconds(data.to_ns) - milliseconds(data.from_ns)) / 1000);
  const budget = data.budget ?? {};
  const index = view.status()?.index ?? {};
  const recalls = data.recalls ?? {};
  const target = budget.percentage_target;
  const kept = sum(data.kept);
  const lag = data.lag ?? {};
  put(parts.tiles,
    tile("Kept traces", count(kept), `${count(kept / seconds)}/s`,
      `stand for ${count(sum(data.kept_weight))}`),
    tile("Spans in", data.in_spans ? count(sum(data.in_spans) / seconds) : "–", "per second",
      data.in_spans ? `${count(sum(data.in_traces) / seconds)} traces/s` : "the ledger isn't read"),
    tile("Spans out", count(sum(data.kept_spans) / seconds), "per second",
      `${bytes(sum(data.kept_bytes) / seconds)}/s`),
    tile("Traces kept", percentage(budget.percentage_kept_traces ?? NaN), null,
      typeof budget.percentage_kept_spans === "number"
        ? `${percentage(budget.percentage_kept_spans)} of spans` : "how many came isn't known",
      typeof target === "number" ? ` · target ${percentage(target)}` : null),
    tile("Lag", typeof lag.records === "number" ? count(lag.records) : "–", "records",
      lag.records === null || lag.records === undefined ? "the group's offsets aren't known" : lagText(lag)),
    tile("Memory", bytes(data.memory?.process_bytes ?? NaN), null,
      meter((data.memory?.index_bytes ?? 0) / (index.bytes_max || Infinity)),
      `index ${bytes(data.memory?.index_bytes ?? NaN)}`,
      (index.bytes_max ? ` of ${bytes(index.bytes_max)}` : "")
        + (index.evicted ? `, ${count(index.evicted)} evicted` : "")),
    tile("Recalls", count(recalls.done ?? 0), `of ${count(recalls.requested ?? 0)}`,
      recalls.gone ? h("span.bad-text", null, `${count(recalls.gone)} came too late`)
        : "none came too late"));
}

function lagText(lag) {
  const partitions = lag.partitions ?? [];
  const worst = partitions.map((one) => ({ ...one, behind: one.end - (one.committed ?? 0) })).sort((a, b) =>
    b.behind - a.behind)[0];
  return worst && worst.behind > 0
    ? `most in partition ${worst.partition}: ${count(worst.behind)}`
      : `${count(partitions.length)} partitions`;
}

function showFigures(parts) {
  const { data } = parts;
  showTiles(parts);
  const [from, step] = [milliseconds(data.from_ns), Number(data.step_ns) / 1e6];
  const steps = (data.kept ?? []).length;
  const format = UNITS[parts.unit][1];
  const series = (data.by_reason ?? []).map((reason, at) => ({
    name: reasonName(reason), colour: reasonColour(reasonName(reason), at), values: reason[parts.unit] ?? [],
    total: sum(reason[parts.unit]),
  })).sort((a, b) => b.total - a.total);
  const many = series.slice(9);
  if (many.length > 1) {
    series.splice(9, Infinity, { name: `${many.length} others`, colour: "var(--ink-3)",
      total: sum(many.map((one) => one.total)),
      values: Array.from({ length: steps }, (_, at) => sum(many.map((one) => one.values[at]))) });
  }
  parts.kept.show({ from, step, count: steps, series, format });
  put(parts.keptLegend, series.length ? legend(series, format) : h("span.faint", null, "nothing was kept"));
  showBudget(parts, from, step, steps);
  showServices(parts);
  if (!parts.list.childElementCount) put(parts.list,
    h("li.state", null, "Nothing has been kept since this page was opened."));
}

function showBudget(parts, from, step, steps) {
  const { data } = parts;
  const ratio = (part, all) => Array.from({ length: steps }, (_, at) =>
    (all?.[at] > 0 ? (100 * (part?.[at] ?? 0)) / all[at] : null));
  const all = data.in_traces ?? (data.dropped && data.kept.map((kept, at) => kept + (data.dropped[at] ?? 0)));
  const series = [];
  if (all) series.push({ name: "traces", colour: "var(--accent)", values: ratio(data.kept, all),
    total: (100 * sum(data.kept)) / sum(all) });
  if (data.in_spans) series.push({ name: "spans", colour: "var(--s15)",
    values: ratio(data.kept_spans, data.in_spans),
    total: (100 * sum(data.kept_spans)) / sum(data.in_spans) });
  const target = data.budget?.percentage_target;
  if (series.length && typeof target === "number") series.push({ name: "target", colour: "var(--ink-2)",
    isTarget: true,
    values: new Array(steps).fill(target), total: target });
  parts.budget.show({ from, step, count: steps, series, format: percentage });
  put(parts.budgetLegend, series.length ? legend(series, percentage)
    : h("span.faint", null, "How much was dropped isn't known: the ledger isn't read."));
}

function showServices(parts) {
  const rows = (parts.data.by_service ?? []).map((row) =>
    ({ ...row, service: row.service ?? row.name })).sort((a, b) => b.weight - a.weight || b.kept - a.kept);
  if (!rows.length) return put(parts.services, state("No traces were kept in this time."));
  const most = Math.max(...rows.map((row) => row.weight || 0), 1);
  const hasBytes = rows.some((row) => typeof row.bytes === "number");
  const hasRate = rows.some((row) => typeof row.rate === "number");
  const line = (row) => h("tr", null,
    h("td.wide", null, h("a", { href: parts.view.link("traces", null,
      { service: row.service, from: parts.view.parameters.get("from") }) },
      service(row.service, colour(row.service)))),
    h("td.number", null, exact(row.kept)),
    h("td.number", null, count(row.weight), " ", meter(row.weight / most, colour(row.service))),
    h("td.number", null, row.errors ? h("span.bad-text", null, exact(row.errors)) : "0"),
    h("td.number", null, count(row.spans)), hasBytes && h("td.number.narrow-hide", null, bytes(row.bytes)),
    hasRate && h("td.number", { title: "the baseline's probability for the service now" },
      share(row.rate ?? NaN)));
  put(parts.services, h("table", null,
    h("thead", null, h("tr", null, h("th", { scope: "col" }, "Root's service"),
      h("th.number", { scope: "col" }, "kept"),
      h("th.number", { scope: "col", title: "the sum of what they stand for" }, "stand for"),
      h("th.number", { scope: "col" }, "errors"),
      h("th.number", { scope: "col" }, "spans"),
        hasBytes && h("th.number.narrow-hide", { scope: "col" }, "bytes"),
      hasRate && h("th.number", { scope: "col" }, "rate now"))),
    h("tbody", null, rows.slice(0, 50).map(line))),
  rows.length > 50 && h("p.faint", null, `and ${exact(rows.length - 50)} more`));
}

/** A line of the newest traces. */
function newest(view, row, isNew) {
  return h(isNew ? "li.new" : "li", null, h("a", { href: view.link("trace", row.trace_id) },
    h("span.faint", null, clock(milliseconds(row.start_ns))),
    h("span.service", null, service(row.service, colour(row.service)), name(row.operation, "bdi.name.soft")),
    marks(row), h("span.number", null, duration(row.duration_ns))));
}

function follow(view, parts, refresh) {
  const seen = new Set();
  let [last, isFirst] = [0, true];
  const stream = live(view.signal, {
    tick(tick) {
      const fresh = (tick.traces ?? []).filter((row) => !seen.has(row.trace_id));
      for (const row of fresh) seen.add(row.trace_id);
      if (seen.size > 5000) seen.clear();
      if (fresh.length) {
        parts.list.querySelector(".state")?.remove();
        parts.list.prepend(...fresh.map((row) => newest(view, row, !isFirst)));
        while (parts.list.childElementCount > LIVE_MAX) parts.list.lastElementChild.remove();
      }
      isFirst = false;
      put(parts.now, `${count(tick.kept ?? 0)} kept in the last second`,
        tick.errors ? h("span.bad-text", null, `, ${count(tick.errors)} with errors`) : null,
        tick.slow ? h("span.slow-text", null, `, ${count(tick.slow)} slow`) : null);
      if (performance.now() - last > 10_000) {
        if (last) refresh();
        last = performance.now();
      }
    },
    status: (status) => dispatchEvent(new CustomEvent("status", { detail: status })),
    state: (now) => put(parts.state, shown({ live: "live", connecting: "connecting…",
      paused: "paused" }[now])),
  });
  let isPaused = false;
  parts.toggle = () => {
    isPaused = !isPaused;
    parts.pause.textContent = isPaused ? "Go on" : "Pause";
    if (isPaused) stream.pause();
    else stream.resume();
  };
}
