// A trace's tree, its critical path, where its error began, and how far its clocks disagree. No page in here.
//
// Spans are others' data: parents may be missing, in a circle, or the span itself; ids may be there twice; a
// tree may be as deep as it has spans, so nothing recurses.

import { nanoseconds } from "./format.js";

const KINDS = ["unspecified", "internal", "server", "client", "producer", "consumer"];

function kindOf(value) {
  if (typeof value === "number") return KINDS[value] ?? "unspecified";
  return String(value ?? "").toLowerCase().replace(/^span_kind_/, "") || "unspecified";
}

const finite = (value) => (Number.isFinite(Number(value)) ? Number(value) : 0);

/** The model of a document of /v1/traces/ID. Times are nanoseconds since the trace's first span. */
export function traceModel(document) {
  const raw = Array.isArray(document.spans) ? document.spans : [];
  let first = null;
  for (const span of raw) {
    const start = nanoseconds(span.start_ns);
    if (first === null || start < first) first = start;
  }
  const spans = raw.map((span, index) => ({
    index, raw: span, id: String(span.span_id ?? ""),
      parentID: span.parent_span_id ? String(span.parent_span_id) : null,
    service: String(span.service ?? ""), operation: String(span.operation ?? ""), kind: kindOf(span.kind),
    recorded: Number(nanoseconds(span.start_ns) - first), start: 0, end: 0,
      duration: Math.max(0, finite(span.duration_ns)),
    isError: String(span.status).toLowerCase().endsWith("error"), parent: null, children: [], depth: 0,
    isOrphan: false, isCut: false, isGhost: false, isDouble: false, skew: 0, path: [], onPath: 0,
  }));
  const model = { document, first: first ?? 0n, spans, roots: [], root: null, isCorrected: false };
  link(model);
  findSkew(model);
  place(model, false);
  model.origin = errorOrigin(spans);
  return model;
}

function link(model) {
  const known = new Map();
  for (const span of model.spans) {
    if (known.has(span.id)) span.isDouble = true;
    else known.set(span.id, span);
  }
  for (const span of model.spans) {
    const parent = span.parentID === null ? null : known.get(span.parentID);
    if (parent === span) span.isCut = true;
    else if (parent) span.parent = parent;
    else span.isOrphan = span.parentID !== null;
  }
  cutCircles(model.spans);
  const ghosts = new Map();
  for (const span of model.spans) {
    if (span.isOrphan) {
      const ghost = ghosts.get(span.parentID) ?? ghostOf(span);
      ghosts.set(span.parentID, ghost);
      span.parent = ghost;
    }
    span.parent?.children.push(span);
  }
  model.ghosts = [...ghosts.values()];
  model.roots = [...model.spans.filter((span) => !span.parent), ...model.ghosts];
}

/** A stand-in for a parent that the trace doesn't have. */
function ghostOf(span) {
  return {
    index: -1, raw: {}, id: span.parentID, parentID: null, service: "", operation: "parent not in the trace",
    kind: "unspecified", recorded: 0, start: 0, end: 0, duration: 0, isError: false, parent: null,
      children: [],
    depth: 0, isOrphan: false, isCut: false, isGhost: true, isDouble: false, skew: 0, path: [], onPath: 0,
  };
}

/** Cuts each circle of parents at its span that started first. */
function cutCircles(spans) {
  const visited = new Int32Array(spans.length);
  for (const span of spans) {
    let at = span;
    while (at && visited[at.index] === 0) {
      visited[at.index] = span.index + 1;
      at = at.parent;
    }
    if (!at || visited[at.index] !== span.index + 1) continue;
    let earliest = at;
    for (let other = at.parent; other !== at; other = other.parent) {
      if (other.recorded < earliest.recorded) earliest = other;
    }
    earliest.parent = null;
    earliest.isCut = true;
  }
}

/** All spans below the roots, parents first. */
function parentsFirst(roots) {
  const order = [...roots];
  for (let at = 0; at < order.length; at++) for (const child of order[at].children) order.push(child);
  return order;
}

/** How far a call's two clocks disagree: what to add to the child's times so that it lies in the middle of
 * its parent. After Jaeger's clock skew adjuster (model/adjuster/clockskew.go): only where two processes
 * meet, the network's latency being the same both ways; a child longer than its parent may only not start
 * before it. A process keeps its parent's correction within the same process. */
function findSkew(model) {
  model.skewed = 0;
  model.skewMost = 0;
  for (const span of parentsFirst(model.roots)) {
    const parent = span.parent;
    if (!parent || parent.isGhost) continue;
    if (span.raw.resource === parent.raw.resource) {
      span.skew = parent.skew;
      continue;
    }
    const isCall = span.kind === "server" || parent.kind === "client";
    const isAsynchronous = span.kind === "consumer" || parent.kind === "producer";
    if (!isCall || isAsynchronous) continue;
    const parentEnd = parent.recorded + parent.duration;
    const early = parent.recorded - span.recorded;
    if (span.duration > parent.duration) span.isSkewed = early > 0;
    else span.isSkewed = early > 0 || span.recorded + span.duration > parentEnd;
    // Both as recorded; the parent may itself be moved.
    const room = span.duration > parent.duration ? 0 : (parent.duration - span.duration) / 2;
    span.skew = span.isSkewed ? parent.skew + early + room : 0;
    if (!span.isSkewed) continue;
    model.skewed++;
    model.skewMost = Math.max(model.skewMost, Math.abs(early + room));
  }
}

/** Places the spans as recorded or corrected, in the order of their starts, and finds the critical path. */
export function place(model, isCorrected) {
  model.isCorrected = isCorrected;
  for (const span of model.spans) {
    span.start = span.recorded + (isCorrected ? span.skew : 0);
    span.end = span.start + span.duration;
    [span.path, span.onPath] = [[], 0];
  }
  for (const ghost of model.ghosts) {
    [ghost.path, ghost.onPath] = [[], 0];
    ghost.start = Infinity;
    ghost.end = -Infinity;
    for (const child of ghost.children) {
      ghost.start = Math.min(ghost.start, child.start);
      ghost.end = Math.max(ghost.end, child.end);
    }
    ghost.duration = ghost.end - ghost.start;
  }
  const byStart = (a, b) => a.start - b.start || b.duration - a.duration || a.index - b.index;
  let [low, high] = [Infinity, -Infinity];
  for (const span of parentsFirst(model.roots)) {
    span.children.sort(byStart);
    span.depth = span.parent ? span.parent.depth + 1 : 0;
    low = Math.min(low, span.start);
    high = Math.max(high, span.end);
  }
  model.roots.sort((a, b) => a.isGhost - b.isGhost || byStart(a, b));
  [model.low, model.high] = model.spans.length ? [low, Math.max(high, low + 1)] : [0, 1];
  let root = null;
  for (const span of model.roots) {
    if (root && span.isGhost && !root.isGhost) continue;
    if (!root || (root.isGhost && !span.isGhost) || span.duration > root.duration) root = span;
  }
  model.root = root;
  // Of the path: how long it is, and for how long no span is on it.
  model.pathDuration = root ? Math.max(1, criticalPath(root)) : 1;
  const onPath = model.spans.concat(model.ghosts).reduce((sum, span) => sum + span.onPath, 0);
  model.pathWaits = root ? Math.max(0, model.pathDuration - onPath) : 0;
}

/** The spans that the trace's duration consists of: from its end back to the child that finished last, from
 * that one's start to the one that finished last before it, and so on. After CRISP (Zhang et al., "CRISP:
 * Critical Path Analysis of Large-Scale Microservice Architectures", USENIX ATC 2022): children are cut to
 * their parent; those that start after its end are not waited for.
 *
 * But the trace may end after its root: with a span below it that nobody waited for, such as a message's
 * consumer. Then the path is that span's, and of each of its ancestors what comes before the next one
 * starts. Between an ancestor's end and that start no span is on it: the work waited, in a queue perhaps.
 * Returns how long the path is. */
export function criticalPath(root) {
  let last = root;
  for (const span of parentsFirst([root])) if (span.end > last.end) last = span;
  pathWithin(last, last.start, last.end);
  // By clocks that differ, a caller may start after the span that it calls.
  let begin = last.start;
  for (let span = last.parent; span && last !== root; span = span === root ? null : span.parent) {
    pathWithin(span, span.start, Math.min(span.end, begin));
    begin = Math.min(begin, span.start);
  }
  return last.end - begin;
}

/** What a span and those below it did from one time to another, the end of that being waited for. */
function pathWithin(root, begin, end) {
  if (end <= begin) return;
  const stack = [{ span: root, from: begin, to: end }];
  while (stack.length) {
    const { span, from, to } = stack.pop();
    const children = [];
    for (const child of span.children) {
      const [start, end] = [Math.max(child.start, from), Math.min(child.end, to)];
      if (child.start < to && end > from) children.push({ child, start, end });
    }
    children.sort((a, b) => b.end - a.end || a.start - b.start || a.child.index - b.child.index);
    let until = to;
    for (const { child, start, end } of children) {
      if (end > until) continue;
      add(span, end, until);
      stack.push({ span: child, from: start, to: end });
      until = start;
    }
    add(span, from, until);
  }
}

function add(span, from, to) {
  if (to <= from) return;
  span.path.push([from, to]);
  span.onPath += to - from;
}

/** Where the error began: a failed span without a failed child; of several the one that ended first, then the
 * one with the smallest id. The same as in decision records. */
export function errorOrigin(spans) {
  let origin = null;
  for (const span of spans) {
    if (!span.isError || span.children.some((child) => child.isError)) continue;
    const [end, best] = [span.recorded + span.duration, origin && origin.recorded + origin.duration];
    if (!origin || end < best || (end === best && span.id < origin.id)) origin = span;
  }
  return origin;
}

/** The rows to show, in the order of the tree. `collapsed`: a set of spans whose children are hidden. */
export function visibleRows(model, collapsed) {
  const rows = [];
  const stack = [...model.roots].reverse();
  while (stack.length) {
    const span = stack.pop();
    rows.push(span);
    if (collapsed.has(span)) continue;
    for (let at = span.children.length - 1; at >= 0; at--) stack.push(span.children[at]);
  }
  return rows;
}

/** How many spans are below one. */
export function sizes(model) {
  const below = new Map();
  for (const span of parentsFirst(model.roots).reverse()) {
    let sum = 0;
    for (const child of span.children) sum += 1 + below.get(child);
    below.set(span, sum);
  }
  return below;
}

/** The services with their spans, errors and time on the critical path, the longest first. */
export function serviceShares(model) {
  const services = new Map();
  for (const span of model.spans) {
    const entry = services.get(span.service) ?? { name: span.service, spans: 0, errors: 0, onPath: 0 };
    entry.spans++;
    entry.errors += span.isError ? 1 : 0;
    entry.onPath += span.onPath;
    services.set(span.service, entry);
  }
  return [...services.values()].sort((a, b) => b.onPath - a.onPath || b.spans - a.spans);
}
