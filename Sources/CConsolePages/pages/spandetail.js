// Everything about one span.

import { h, name, service } from "./dom.js";
import { clock, colour, cut, duration, exact, instant, milliseconds, nanoseconds, share, shown,
  shownLines } from "./format.js";

const SHOWN_MAX = 200;

/** A value of an attribute: lists and maps as JSON. */
function text(value) {
  return shownLines(typeof value === "object" && value !== null ? JSON.stringify(value) : value);
}

/** Attributes as [key, value, type], or as an object. */
function pairs(attributes) {
  const list = Array.isArray(attributes) ? attributes : Object.entries(attributes ?? {});
  return h("dl.pairs", null, list.slice(0, SHOWN_MAX).map(([key, value]) => [
    h("dt", { title: cut(shown(key), 2000) }, cut(shown(key), 300)), h("dd", null, text(value))]),
  list.length > SHOWN_MAX && h("dt", null, `and ${exact(list.length - SHOWN_MAX)} more`));
}

function section(title, ...content) {
  return [h("h3", null, title), ...content];
}

/** The panel's content for a span, or for a parent that the trace doesn't have. */
export function detail(view, model, span) {
  if (span.isGhost) {
    return [h("h2", null, "A parent that isn't in the trace"), h("p.soft", null,
      `${exact(span.children.length)} spans name it: `, h("code", null, cut(shown(span.id), 100)),
      ". It was not sent, not kept, or is in another trace.")];
  }
  const { raw } = span;
  const resource = model.document.resources?.[raw.resource];
  const own = (model.document.logs ?? []).filter((log) => log.span_id === span.id);
  return [
    h("h2", null, service(span.service, colour(span.service))),
    h("p.big-text", null, shown(span.operation) || h("i.none", null, "no name")),
    notes(model, span),
    h("dl.pairs", null, facts(model, span).map(([key, value]) => [h("dt", null, key), h("dd", null, value)])),
    raw.status_message ? section("Status", h("p.big-text",
      { class: span.isError ? "big-text bad-text" : "big-text" }, shownLines(raw.status_message))) : null,
    raw.attributes?.length ? section("Attributes", pairs(raw.attributes)) : null,
    raw.events?.length ? section("Events", raw.events.slice(0,
      SHOWN_MAX).map((event) => eventLine(model, span, event))) : null,
    raw.links?.length ? section("Links", raw.links.slice(0, SHOWN_MAX).map((link) => linkLine(view, link)))
      : null,
    own.length ? section("Logs", own.slice(0, SHOWN_MAX).map(logLine)) : null,
    resource?.length ? section("Resource", pairs(resource)) : null,
  ];
}

function facts(model, span) {
  const { raw } = span;
  const list = [["starts", `${duration(span.start - model.low)} into the trace, ${instant(raw.start_ns)}`],
    ["lasts", duration(span.duration)]];
  if (span.onPath) list.push(["critical path",
    `${duration(span.onPath)}, ${share(span.onPath / model.pathDuration)} of it`]);
  list.push(["kind", span.kind], ["status", shown(raw.status ?? "unset")],
    ["span", h("code", null, cut(shown(span.id), 100))]);
  if (span.parentID) list.push(["parent", h("code", null, cut(shown(span.parentID), 100))]);
  if (raw.scope?.trim()) list.push(["scope", cut(shown(raw.scope), 500)]);
  if (raw.trace_state) list.push(["trace state", cut(shown(raw.trace_state), 1000)]);
  return list;
}

function notes(model, span) {
  const marks = [];
  if (span === model.origin) marks.push(h("span.mark.error", null, "the error began here"));
  if (span.isSkewed) marks.push(h("span.mark.slow", null,
    model.isCorrected ? `moved by ${duration(span.skew)}` : "outside its caller's span"));
  if (span.isOrphan) marks.push(h("span.mark.slow", null, "its parent isn't in the trace"));
  if (span.isCut) marks.push(h("span.mark.slow", null, "its parents form a circle"));
  if (span.isDouble) marks.push(h("span.mark.slow", null, "another span has the same id"));
  return marks.length ? h("p", null, marks) : null;
}

function eventLine(model, span, event) {
  const after = Number(nanoseconds(event.time_ns) - nanoseconds(span.raw.start_ns));
  return h("div.event", null, h("span.faint", null, `+${duration(after)} `), name(event.name),
    pairs(event.attributes));
}

/** A link to a span of this or another trace. */
function linkLine(view, link) {
  const id = String(link.trace_id ?? "");
  const isID = /^[0-9a-f]{32}$/i.test(id);
  const target = isID && h("a.mono", { href: view.link("trace", id, { span: link.span_id }) }, id);
  return h("div.event", null, target || h("code", null, cut(shown(id), 100)), h("span.faint", null, " span "),
    h("code", null, cut(shown(link.span_id), 100)), pairs(link.attributes));
}

/** A log record. */
export function logLine(log) {
  const isBad = /^(error|fatal|crit)/i.test(String(log.severity ?? ""));
  return h(isBad ? "div.log.bad" : "div.log", null,
    h("span.faint", null, `${clock(milliseconds(log.time_ns), 3)} `),
    h(isBad ? "b.bad-text" : "b", null, cut(shown(log.severity), 40), " "),
      h("bdi.big-text", null, text(log.body)),
    log.attributes && pairs(log.attributes));
}
