// The kept traces: a search, a scatter of their durations over time, a list.

import { get } from "./api.js";
import { canvas, h, hideTip, listKey, load, name, palette, put, service, showTip, state } from "./dom.js";
import { clock, colour, count, cut, decades, duration, exact, instant, milliseconds, shown,
  timeTicks } from "./format.js";
import { marks, reasonMark, reasonName } from "./marks.js";
import { parseDuration, searchTextOf } from "./query.js";

const LIMIT = 200;
const LIMIT_MAX = 1500;
const ORDERS = { newest: "newest", longest: "longest root", longest_whole: "longest in all" };
/** As many as are seen at first. */
const FIRST_ROWS = 40;
const FIELDS = ["service", "operation", "reason", "policy", "min_duration", "max_duration", "error", "sort"];

/** A duration as the API reads it: whole milliseconds, or nanoseconds. */
function durationParameter(text) {
  const ns = parseDuration(text ?? "");
  if (ns === null) return null;
  return ns % 1e6 === 0 ? `${ns / 1e6}ms` : `${ns}ns`;
}

export function open(view) {
  const query = view.parameters;
  document.getElementById("search-text").value = searchTextOf(query);
  const parameters = {
    ...Object.fromEntries(FIELDS.map((field) => [field, query.getAll(field)])), tag: query.getAll("tag"),
      from: view.from,
    to: view.to, min_duration: durationParameter(query.get("min_duration")),
    max_duration: durationParameter(query.get("max_duration")), limit: query.get("limit") || LIMIT,
  };
  const holder = h("div.body", null);
  view.main.append(filters(view), holder);
  load(holder, view, () => get("v1/traces", parameters, view), (data) => show(view, holder, data));
}

function filters(view) {
  const query = view.parameters;
  const field = (key, label, kind, properties) => h(`label${kind ?? ""}`, null, label,
    h("input", { name: key, value: query.getAll(key).join(" "), autocomplete: "off", spellcheck: "false",
      ...properties }));
  const sort = h("select", { name: "sort" }, Object.entries(ORDERS).map(([value, text]) =>
    h("option", { value }, text)));
  sort.value = Object.hasOwn(ORDERS, query.get("sort") ?? "") ? query.get("sort") : "newest";
  const form = h("form.filters.panel", { "aria-label": "Filters", onsubmit(event) {
    event.preventDefault();
    apply(view, new FormData(form));
  }, onchange: (event) => ["error", "sort"].includes(event.target.name) && form.requestSubmit() },
  field("service", "Service", "", { list: "services" }),
    field("operation", "Operation", "", { list: "operations" }),
  field("reason", "Reason", ".short", { list: "reasons" }),
  field("min_duration", "Root at least", ".short",
    { placeholder: "100ms", pattern: "[0-9.]+ *(ns|us|µs|ms|s|min|m|h)?" }),
  field("max_duration", "Root at most", ".short", { placeholder: "2s",
    pattern: "[0-9.]+ *(ns|us|µs|ms|s|min|m|h)?" }),
  field("tag", "Attributes", ".tags", { placeholder: "http.status_code=500" }),
  h("label.check", null, h("input", { type: "checkbox", name: "error", value: "1",
    checked: query.has("error") }), "errors only"),
  h("label", null, "Order", sort),
  h("button.main", null, "Search"),
  [...query.keys()].some((key) => key !== "from") && h("button", { type: "button",
    onclick: () => view.go("traces", null, { from: query.get("from") }) }, "Clear"),
  h("datalist", { id: "services" }, view.services().slice(0,
    500).map((one) => h("option", { value: cut(shown(one), 200) }))),
  h("datalist", { id: "operations" }),
  h("datalist", { id: "reasons" }, (view.status()?.policies
    ?? []).map((one) => h("option", { value: cut(shown(one), 200) }))));
  suggestOperations(view, form);
  return form;
}

/** The operations of the chosen service, once someone looks for one. */
function suggestOperations(view, form) {
  const list = form.querySelector("#operations");
  form.operation.addEventListener("focus", async () => {
    try {
      const document = await get("v1/services", {}, view);
      const chosen = (document.services ?? []).filter((one) => !form.service.value
        || one.name === form.service.value);
      const names = new Set(chosen.flatMap((one) => one.operations ?? []));
      put(list, [...names].slice(0, 300).map((one) => h("option", { value: cut(shown(one), 200) })));
    } catch {
      // Without suggestions, one types.
    }
  }, { once: true });
}

/** Tags of the form: pairs with spaces between them; quotes hold a value together. */
function apply(view, form) {
  const tags = (form.get("tag") ?? "").match(/[^\s=]+=(?:"[^"]*"|\S*)/g) ?? [];
  view.go("traces", null, { service: form.get("service").trim(), operation: form.get("operation").trim(),
    reason: form.get("reason").trim(), min_duration: form.get("min_duration").trim(),
    max_duration: form.get("max_duration").trim(), tag: tags.map((tag) => tag.replaceAll('"', "")),
    error: form.get("error"), sort: form.get("sort") === "newest" ? null : form.get("sort"),
      policy: view.parameters.get("policy"),
    from: view.parameters.get("from"), to: view.parameters.get("to") });
}

function show(view, holder, data) {
  const rows = data.traces ?? [];
  if (!rows.length) {
    const isReading = view.status()?.index?.caught_up === false;
    return put(holder, state(isReading ? "No kept trace matches yet: the index is still reading."
      : "No kept trace matches.",
      h("p.faint", null, "Look further back, or search for less.")));
  }
  const list = table(view, rows);
  const total = data.total ?? rows.length;
  const order = { longest: "longest (by their roots)", longest_whole: "longest (in all)" }[
    view.parameters.get("sort")] ?? "newest";
  const more = data.truncated && rows.length < LIMIT_MAX && h("button", { type: "button",
    onclick: () => view.go("traces", null, { ...all(view.parameters), limit: LIMIT_MAX }) },
      `Show up to ${exact(LIMIT_MAX)}`);
  put(holder,
    h("section.panel", null, h("header", null,
      h("h2", null, `${exact(total)} kept ${total === 1 ? "trace" : "traces"}`),
      data.truncated && h("span.soft", null, `the ${exact(rows.length)} ${order} are shown`),
      more, h("span.legend.more", null, key("●", "error", "error"), key("▲", "slow", "slow"),
        "drag to choose a time and durations")),
    scatter(view, rows)), h("section.panel.rows", null, list.element));
  view.key = (event) => listKey(event, list);
}

function key(sign, kind, text) {
  return h("span.nowrap", null, h(`span.${kind === "error" ? "bad-text" : "slow-text"}`, null, sign),
    ` ${text}`);
}

const all = (parameters) => Object.fromEntries([...new Set(parameters.keys())].map((one) =>
  [one, parameters.getAll(one)]));

/** The rows; one of them can be focused, and keys move from it. */
function table(view, rows) {
  const longest = rows.reduce((most, row) => Math.max(most, row.duration_ns || 0), 1);
  const body = h("tbody");
  const list = {
    count: rows.length, active: -1,
    move(to) {
      fill(to + 1);
      body.children[list.active]?.setAttribute("tabindex", "-1");
      list.active = to;
      body.children[to].setAttribute("tabindex", "0");
      body.children[to].focus({ preventScroll: true });
      body.children[to].scrollIntoView({ block: "nearest" });
    },
    open: (at) => view.go("trace", rows[at].trace_id),
  };
  const fill = (to) => {
    for (let at = body.childElementCount; at < Math.min(to, rows.length); at++) {
      body.append(line(view, rows[at], at, longest, list));
    }
  };
  fill(FIRST_ROWS);
  // The rest once these are painted.
  if (rows.length > FIRST_ROWS) requestAnimationFrame(() => setTimeout(() => fill(rows.length)));
  const column = (text, kind, width) => h(`th${kind}`, { scope: "col", style: width ? { width } : {} }, text);
  list.element = h("table.traces", null, h("thead", null,
    h("tr", null, column("Start (UTC)", "", "6.6rem"), column("Root", ""),
    column("Root's duration", "", "8.5rem"), column("Marks", "", "8.4rem"), column("Kept by", "", "9rem"),
    column("Spans", ".number", "4rem"), column("Errors", ".number.narrow-hide", "4rem"),
    column("Stands for", ".number.narrow-hide", "5.4rem"), column("Services", ".narrow-hide", "8rem"))),
      body);
  return list;
}

function line(view, row, at, longest, list) {
  const width = `${(100 * (row.duration_ns || 0)) / longest}%`;
  return h("tr", { tabindex: at ? "-1" : "0", onclick(event) {
    if (!event.target.closest("a")) list.open(at);
  }, onfocus: () => (list.active = at) },
  h("td", { title: instant(row.start_ns) }, clock(milliseconds(row.start_ns), 1)),
  h("td", null, h("a.service", { href: view.link("trace", row.trace_id), tabindex: "-1" },
    service(row.service, colour(row.service)), name(row.operation, "bdi.name.soft"))),
  h(`td.bar-cell${row.error ? ".error" : row.slow ? ".slow" : ""}`, null, duration(row.duration_ns),
    outlasts(row) && h("div.faint.nowrap", { title: "from the first span's start to the last one's end" },
      `${duration(row.whole_duration_ns)} in all`), h("i", { style: { width } })),
  h("td", null, marks(row)), h("td", null, reasonMark(row)), h("td.number", null, exact(row.spans)),
  h("td.number.narrow-hide", null, row.errors ? h("span.bad-text", null, exact(row.errors)) : "0"),
  h("td.number.narrow-hide", null, count(row.adjusted_count)),
  h("td.narrow-hide", null, shares(row.services ?? [])));
}

/** Whether a trace goes on after its root, so that one sees it: as text the two durations differ. */
const outlasts = (row) => row.whole_duration_ns > row.duration_ns
  && duration(row.whole_duration_ns) !== duration(row.duration_ns);

/** A small bar: the services by their spans. */
function shares(services) {
  const total = services.reduce((sum, one) => sum + (one.spans || 0), 0) || 1;
  return h("span.shares", { title: services.map((one) =>
    `${cut(shown(one.name), 80)}: ${exact(one.spans)}`).join("\n") },
    services.map((one) => h("i", { style: { "--colour": colour(one.name),
      width: `${(100 * one.spans) / total}%` } })));
}

const [LEFT, RIGHT, TOP, BOTTOM] = [58, 10, 8, 20];

/** Duration over time, both as far as the rows reach. Drawn on a canvas: there may be 1,500 points. */
function scatter(view, rows) {
  const points = rows.map((row) => ({ row, time: milliseconds(row.start_ns),
    ns: Math.max(1, row.duration_ns || 1), x: 0, y: 0 }));
  const times = points.map((point) => point.time);
  let [from, to] = [Math.min(...times), Math.max(...times)];
  if (to - from < 1000) [from, to] = [from - 500, to + 500];
  const low = Math.min(...points.map((point) => point.ns)) / 1.4;
  const high = Math.max(...points.map((point) => point.ns), low * 10) * 1.4;
  // What has a mark is drawn last, over the rest.
  points.sort((a, b) => Boolean(a.row.error) - Boolean(b.row.error)
    || Boolean(a.row.slow) - Boolean(b.row.slow));
  let drag = null;
  const label = `durations of ${rows.length} traces over time; the list below has the same`;
  const element = canvas(view, "scatter", label,
    (context, width, height) => {
      const look = palette();
      const [inner, tall] = [width - LEFT - RIGHT, height - TOP - BOTTOM];
      const y = (ns) => TOP + tall * (1 - Math.log(ns / low) / Math.log(high / low));
      context.font = "11px system-ui, sans-serif";
      context.lineWidth = 1;
      axes(context, look, { from, to, low, high, width, height, y, inner });
      for (const point of points) {
        point.x = LEFT + (inner * (point.time - from)) / (to - from);
        point.y = y(point.ns);
        dot(context, look, point);
      }
      if (drag) {
        context.fillStyle = look("--accent");
        context.globalAlpha = 0.18;
        context.fillRect(drag.x, drag.y, drag.toX - drag.x, drag.toY - drag.y);
        context.globalAlpha = 1;
      }
      element.range = { from, to, low, high, inner, tall };
    });
  pointer(view, element, points, () => drag, (value) => {
    drag = value;
    element.redraw();
  });
  return element;
}

function axes(context, look, { from, to, low, high, width, height, y, inner }) {
  context.strokeStyle = look("--line");
  context.fillStyle = look("--ink-3");
  context.textAlign = "right";
  for (const ns of decades(low, high)) {
    context.beginPath();
    context.moveTo(LEFT, Math.round(y(ns)) + 0.5);
    context.lineTo(width - RIGHT, Math.round(y(ns)) + 0.5);
    context.stroke();
    context.fillText(duration(ns), LEFT - 7, y(ns) + 4);
  }
  context.textAlign = "center";
  for (const { at, text } of timeTicks(from, to, inner / 100)) {
    context.fillText(text, LEFT + (inner * (at - from)) / (to - from), height - 5);
  }
}

function dot(context, look, { row, x, y }) {
  context.globalAlpha = row.error || row.slow ? 0.9 : 0.6;
  context.fillStyle = look(row.error ? "--error" : row.slow ? "--slow" : colour(row.service));
  context.beginPath();
  if (row.slow && !row.error) {
    context.moveTo(x, y - 5);
    context.lineTo(x + 4.5, y + 3.5);
    context.lineTo(x - 4.5, y + 3.5);
  } else context.arc(x, y, row.error ? 4 : 3, 0, 7);
  context.fill();
  context.globalAlpha = 1;
}

function pointer(view, element, points, drag, setDrag) {
  const place = (event) => {
    const box = element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const near = (x, y) => {
    let [best, distance] = [null, 144];
    for (const point of points) {
      const now = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (now <= distance) [best, distance] = [point, now];
    }
    return best;
  };
  element.addEventListener("pointerdown", (event) => {
    const [x, y] = place(event);
    element.setPointerCapture(event.pointerId);
    setDrag({ x, y, toX: x, toY: y });
  });
  element.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    if (drag()) return setDrag({ ...drag(), toX: x, toY: y });
    const found = near(x, y);
    element.style.cursor = found ? "pointer" : "crosshair";
    if (found) tipOf(event, found.row);
    else hideTip();
  });
  element.addEventListener("pointerleave", hideTip);
  element.addEventListener("pointerup", (event) => {
    const chosen = drag();
    setDrag(null);
    if (!chosen) return;
    const [x, y] = place(event);
    const isDrag = Math.abs(x - chosen.x) > 8 && Math.abs(y - chosen.y) > 4;
    const found = isDrag ? null : near(x, y);
    if (found) view.go("trace", found.row.trace_id);
    else if (isDrag) zoom(view, element.range, chosen, x, y);
  });
  element.addEventListener("pointercancel", () => setDrag(null));
}

/** Searches again for what lies in the rectangle. */
function zoom(view, range, chosen, toX, toY) {
  const time = (x) => range.from + ((Math.max(LEFT,
    Math.min(x, LEFT + range.inner)) - LEFT) / range.inner) * (range.to - range.from);
  const ns = (y) => range.low * (range.high / range.low) ** (1 - (Math.max(TOP,
    Math.min(y, TOP + range.tall)) - TOP) / range.tall);
  const [left, right] = [chosen.x, toX].sort((a, b) => a - b);
  const [top, bottom] = [chosen.y, toY].sort((a, b) => a - b);
  const absolute = (ms, up) => String(BigInt(up ? Math.ceil(ms) : Math.floor(ms)) * 1_000_000n);
  const text = (value) => (value >= 1e7 ? `${Math.round(value / 1e6)}ms` : `${Math.round(value)}ns`);
  view.go("traces", null, { ...all(view.parameters), from: absolute(time(left)),
    to: absolute(time(right), true),
    min_duration: text(ns(bottom)), max_duration: text(ns(top)) });
}

function tipOf(event, row) {
  showTip(event, h("p", null, service(row.service, colour(row.service)),
    h("b", null, duration(row.duration_ns)),
    outlasts(row) && h("span.faint", null, `${duration(row.whole_duration_ns)} in all`)),
    h("p", null, name(row.operation)), h("p.faint", null,
      `${clock(milliseconds(row.start_ns), 3)} UTC, ${exact(row.spans)} spans`),
    h("p.faint", null, h("span", null, "kept by ", h("bdi", null, cut(shown(reasonName(row)), 100))),
      marks(row)));
}
