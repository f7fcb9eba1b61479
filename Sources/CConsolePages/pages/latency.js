// How long operations take: a histogram, and the kept traces as dots below it.

import { get } from "./api.js";
import { canvas, dot, h, hideTip, load, name, palette, put, service, showTip, state } from "./dom.js";
import { clock, colour, count, cut, decades, duration, exact, milliseconds, roundTicks,
  shown } from "./format.js";
import { reasonMark, reasonName } from "./marks.js";

export function open(view) {
  const holder = h("div.body");
  view.main.append(holder);
  load(holder, view, () => get("v1/services", {}, view),
    (data) => show(view, holder, data.services ?? [], data.truncated));
}

function show(view, holder, services, isTruncated) {
  if (!services.length) {
    return put(holder, state(view.status()?.index?.caught_up === false
      ? "No services yet: the index is still reading."
      : "No kept traces: there is nothing to measure."));
  }
  services.sort((a, b) => (b.spans || 0) - (a.spans || 0));
  const chosen = services.find((one) => one.name === view.parameters.get("service")) ?? services[0];
  const operation = view.parameters.get("operation") ?? "";
  const list = h("ul");
  const search = h("input", { type: "search", placeholder: "Find a service or an operation  (/)",
    "aria-label": "Find a service or an operation",
    maxlength: 200, oninput: () => fillChoices(view, list, services, search.value, chosen, operation) });
  fillChoices(view, list, services, "", chosen, operation);
  const chart = h("div.panel");
  view.focusSearch = () => search.select();
  view.key = (event) => moveFocus(list, event);
  put(holder, h("div.latency-body", null, h("nav.panel.choices", { "aria-label": "Services and operations" },
    search, list,
    isTruncated && h("p.faint", null, "There are more.")), chart));
  view.title(`Latency of ${chosen.name} ${operation}`);
  load(chart, view, () => get("v1/latency", { service: chosen.name, operation, from: view.from, to: view.to },
    view),
    (data) => showLatency(view, chart, data, chosen.name, operation));
}

function fillChoices(view, list, services, text, chosen, operation) {
  const wanted = text.trim().toLowerCase();
  const has = (one) => String(one).toLowerCase().includes(wanted);
  const found = services.filter((one) => !wanted || has(one.name) || (one.operations ?? []).some(has));
  const go = (to, toOperation) => view.go("latency", null,
    { service: to, operation: toOperation, from: view.parameters.get("from") });
  put(list, found.slice(0, 200).map((one) => {
    const isChosen = one === chosen;
    const operations = (one.operations ?? []).filter((each) => (wanted ? has(each) : isChosen));
    return h("li", null, h("button", { type: "button", "aria-current": isChosen && !operation ? "true" : null,
      onclick: () => go(one.name) },
      dot(colour(one.name)), name(one.name), h("span.number", null, count(one.spans))),
    operations.length > 0 && h("ul", null, operations.slice(0, 200).map((each) => h("li", null,
      h("button", { type: "button", "aria-current": isChosen && operation && each === operation ? "true"
        : null, onclick: () => go(one.name, each) }, name(each))))));
  }), found.length > 200 && h("li.faint", null, `and ${exact(found.length - 200)} more`),
    !found.length && h("li.state", null, "Nothing has this name."));
}

function moveFocus(list, event) {
  const buttons = [...list.querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, j: at + 1, ArrowUp: at - 1, k: at - 1 }[event.key];
  if (to === undefined || !buttons.length) return false;
  buttons[Math.max(0, Math.min(buttons.length - 1, to))].focus();
  return true;
}

function showLatency(view, chart, data, chosen, operation) {
  const buckets = (data.buckets ?? []).filter((bucket) => bucket.high_ns > 0);
  const dots = data.dots ?? [];
  if (!buckets.length) return put(chart, state("No kept spans of this in this time."));
  const weight = buckets.reduce((sum, bucket) => sum + (bucket.weight || 0), 0);
  const samples = buckets.reduce((sum, bucket) => sum + (bucket.samples || 0), 0);
  const fact = (text, value) => h("span", null, h("b", null, value), ` ${text}`);
  const slowest = [...dots].sort((a, b) => b.duration_ns - a.duration_ns).slice(0, 10);
  put(chart, h("header", null, h("h1.service", null, service(chosen, colour(chosen)),
    operation ? name(operation, "bdi.name.soft") : h("span.soft", null, "all operations"))),
    h("p.facts", null, fact("p50", duration(data.p50_ns)), fact("p95", duration(data.p95_ns)),
      fact("p99", duration(data.p99_ns)),
      fact("calls estimated", count(weight)), fact("kept spans", count(samples)),
      h("a", { href: view.link("traces", null, { service: chosen, operation, sort: "longest" }) },
        "its traces")),
    histogram(view, data, buckets, dots, { chosen, operation }),
    h("p.faint", null, "Bars: estimated calls, the failed ones in red. Dots: kept traces, the newest "
      + "at the top. Click a dot to open it, a bar for its traces."),
    slowest.length > 0 && h("section", null, h("h2", null, "Longest kept"),
      h("table.rows", null, h("tbody", null, slowest.map((one) => longLine(view, one))))));
}

function longLine(view, one) {
  return h("tr", null, h("td.number", null, duration(one.duration_ns)),
    h("td", null, one.error ? h("span.mark.error", null, "error") : null),
    h("td.wide", null, reasonMark(one)),
    h("td.faint.narrow-hide", null, `${clock(milliseconds(one.start_ns))} UTC`),
    h("td", null, h("a.mono", { href: view.link("trace", one.trace_id) }, cut(shown(one.trace_id), 32))));
}

const [LEFT, RIGHT, TOP, AXIS] = [58, 12, 24, 22];

function histogram(view, data, buckets, dots, { chosen, operation }) {
  const low = Math.max(1, Math.min(...buckets.map((one) => one.low_ns || one.high_ns / 2)));
  const high = Math.max(...buckets.map((one) => one.high_ns), low * 10);
  const most = Math.max(...buckets.map((one) => one.weight || 0), 1e-9);
  const times = dots.map((one) => milliseconds(one.start_ns));
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const points = dots.map((one, at) => ({ one,
    part: last > first ? (times[at] - first) / (last - first) : 0.5, x: 0, y: 0 }));
  points.sort((a, b) => Boolean(a.one.error) - Boolean(b.one.error));
  let size = null;
  const [p50, p95, p99] = [data.p50_ns, data.p95_ns, data.p99_ns];
  const label = `latency histogram: p50 ${duration(p50)}, p95 ${duration(p95)}, p99 ${duration(p99)}`;
  const element = canvas(view, "histogram", label,
    (context, width, height) => {
      const look = palette();
      const inner = width - LEFT - RIGHT;
      const base = height * 0.62;
      const x = (ns) => LEFT + (inner * Math.log(Math.max(ns, low) / low)) / Math.log(high / low);
      size = { base, x };
      context.font = "11px system-ui, sans-serif";
      drawAxes(context, look, { x, base, width, height, low, high, most });
      for (const bucket of buckets) drawBar(context, look, bucket, x, base, (base - TOP) / (most * 1.05),
        colour(chosen));
      for (const [text, ns] of Object.entries({ p50, p95, p99 })) {
        drawPercentile(context, look, text, ns, x, base);
      }
      for (const point of points) {
        point.x = x(point.one.duration_ns || 1);
        point.y = height - 8 - point.part * (height - base - AXIS - 18);
        context.fillStyle = look(point.one.error ? "--error" : colour(chosen));
        context.globalAlpha = point.one.error ? 0.9 : 0.6;
        context.beginPath();
        context.arc(point.x, point.y, 3, 0, 7);
        context.fill();
      }
      context.globalAlpha = 1;
    });
  const at = (event) => {
    const box = element.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    if (size && py <= size.base) return { bucket: buckets.find((one) => px >= size.x(one.low_ns)
      && px < size.x(one.high_ns)) };
    let [best, distance] = [null, 100];
    for (const point of points) {
      const now = (point.x - px) ** 2 + (point.y - py) ** 2;
      if (now <= distance) [best, distance] = [point.one, now];
    }
    return { dot: best };
  };
  element.addEventListener("pointermove", (event) => {
    const { bucket, dot: found } = at(event);
    element.style.cursor = bucket || found ? "pointer" : "default";
    if (bucket) tipOfBucket(event, bucket);
    else if (found) showTip(event, h("p", null, h("b", null, duration(found.duration_ns)),
      found.error ? h("span.mark.error", null, "error") : null),
      h("p.faint", null, `${clock(milliseconds(found.start_ns), 3)} UTC, kept by `,
        h("bdi", null, cut(shown(reasonName(found)), 100))));
    else hideTip();
  });
  element.addEventListener("pointerleave", hideTip);
  element.addEventListener("click", (event) => {
    const { bucket, dot: found } = at(event);
    if (found) view.go("trace", found.trace_id);
    else if (bucket) view.go("traces", null, { service: chosen, operation, from: view.parameters.get("from"),
      min_duration: `${Math.floor(bucket.low_ns)}ns`, max_duration: `${Math.ceil(bucket.high_ns)}ns` });
  });
  return element;
}

function tipOfBucket(event, bucket) {
  showTip(event, h("p", null, h("b", null, `${duration(bucket.low_ns)} – ${duration(bucket.high_ns)}`)),
    h("p", null, h("span", null, "calls estimated"), h("b", null, count(bucket.weight))),
      h("p", null, h("span", null, "kept spans"), h("b", null, exact(bucket.samples))),
    h("p", null, h("span", null, "of them failed"), h("b", null, exact(bucket.errors))));
}

function drawAxes(context, look, { x, base, width, height, low, high, most }) {
  context.fillStyle = look("--ink-3");
  context.strokeStyle = look("--line");
  context.textAlign = "right";
  const y = (value) => base - (value * (base - TOP)) / (most * 1.05);
  for (const value of roundTicks(most, 4)) {
    context.beginPath();
    context.moveTo(LEFT, Math.round(y(value)) + 0.5);
    context.lineTo(width - RIGHT, Math.round(y(value)) + 0.5);
    context.stroke();
    context.fillText(count(value), LEFT - 7, y(value) + 4);
  }
  context.textAlign = "center";
  for (const ns of decades(low, high)) {
    context.beginPath();
    context.moveTo(Math.round(x(ns)) + 0.5, base);
    context.lineTo(Math.round(x(ns)) + 0.5, height);
    context.stroke();
    context.fillText(duration(ns), x(ns), base + 15);
  }
}

function drawBar(context, look, bucket, x, base, unit, fill) {
  const [left, right] = [x(bucket.low_ns || 1), x(bucket.high_ns)];
  const tall = Math.max((bucket.weight || 0) > 0 ? 1 : 0, (bucket.weight || 0) * unit);
  context.fillStyle = look(fill);
  context.globalAlpha = 0.85;
  context.fillRect(left + 0.5, base - tall, Math.max(1, right - left - 1), tall);
  context.globalAlpha = 1;
  // Failed traces are all kept: their number is their weight, unless the head sampled them.
  const failed = Math.min(tall, bucket.errors > 0 ? Math.max(2, bucket.errors * unit) : 0);
  context.fillStyle = look("--error");
  context.fillRect(left + 0.5, base - failed, Math.max(1, right - left - 1), failed);
}

function drawPercentile(context, look, label, ns, x, base) {
  if (!(ns > 0)) return;
  context.strokeStyle = look("--ink-2");
  context.setLineDash([4, 3]);
  context.beginPath();
  context.moveTo(Math.round(x(ns)) + 0.5, 16);
  context.lineTo(Math.round(x(ns)) + 0.5, base);
  context.stroke();
  context.setLineDash([]);
  context.fillStyle = look("--ink-2");
  // They may be close together: one is written left of its line, one right.
  context.textAlign = { p95: "right", p99: "left" }[label] ?? "center";
  context.fillText(label, x(ns) + ({ p95: 2, p99: -2 }[label] ?? 0), 12);
}
