// The services and their calls, in layers. Figures are scaled by what the kept traces stand for.

import { get } from "./api.js";
import { h, hideTip, load, name, put, s, service, showTip, state } from "./dom.js";
import { colour, count, cut, duration, exact, share, shown } from "./format.js";
import { layout } from "./layout.js";

const NODES_MAX = 600;

export function open(view) {
  const holder = h("div.body");
  view.main.append(holder);
  load(holder, view, () => get("v1/map", { from: view.from, to: view.to }, view),
    (data) => show(view, holder, data));
}

function show(view, holder, data) {
  const services = [...(data.services ?? [])].sort((a, b) => (b.calls || 0) - (a.calls || 0));
  if (!services.length) {
    return put(holder, state(view.status()?.index?.caught_up === false
      ? "Nothing to map yet: the index is still reading."
      : "No kept spans in this time: nothing to map."));
  }
  const links = (data.links ?? []).map((link) => ({ ...link, isLink: true }));
  const map = new ServiceMap(view, services, [...(data.calls ?? []), ...links]);
  const note = h("p.faint", null, "Numbers of calls are estimates from the kept traces, with 99 % intervals."
    + (links.length ? " Dotted: spans that link to another service's." : ""),
    data.truncated || services.length > NODES_MAX
      ? ` The ${exact(Math.min(services.length, NODES_MAX))} services with the most calls are shown.` : "");
  put(holder, h("div.head", null, h("h1", null, `${exact(services.length)} services`), note, map.tools),
    h("div.map-body", null, map.view, map.side));
  view.key = (event) => map.key(event);
  view.focusSearch = () => map.search.select();
  map.select(view.parameters.get("service") ?? null);
}

const interval = (one) => `${count(one.calls)} (${count(one.calls_low)} – ${count(one.calls_high)})`;

class ServiceMap {
  constructor(page, services, calls) {
    this.page = page;
    this.services = services.slice(0, NODES_MAX);
    this.calls = calls;
    this.byName = new Map(this.services.map((one) => [one.name, one]));
    this.most = Math.max(1, ...calls.slice(0, 10_000).map((call) => call.calls || 0));
    this.group = s("g");
    this.svg = s("svg", { role: "group", "aria-label": "map of services" }, s("defs", null,
      s("marker", { id: "tip-of-arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7,
        orient: "auto-start-reverse", markerUnits: "userSpaceOnUse" },
        s("path", { d: "M0 0L8 4L0 8z", style: { fill: "var(--ink-3)" } }))), this.group);
    const button = (text, label, action) => h("button",
      { type: "button", "aria-label": label, title: label, onclick: action }, text);
    this.view = h("section.panel.map-view", { "aria-label": "Map" }, this.svg,
      h("div.buttons", null, button("+", "Zoom in", () => this.zoom(1.3)),
      button("−", "Zoom out", () => this.zoom(1 / 1.3)),
      button("Fit", "Show everything", () => this.fit())));
    this.side = h("aside.panel.map-side.rows", { "aria-label": "Services" });
    this.search = h("input", { type: "search", placeholder: "Find a service  (/)",
      "aria-label": "Find a service", maxlength: 200,
      oninput: () => this.showList(), onkeydown: (event) => event.key === "Enter" && this.found()[0]
        && this.select(this.found()[0].name) });
    this.tools = h("span.more.tools", null, this.search);
    this.listen();
    // Its size is known once it is in the page.
    const observer = new ResizeObserver(() => this.isFitted || this.fit());
    observer.observe(this.svg);
    page.signal.addEventListener("abort", () => observer.disconnect());
  }

  /** The services whose names have the text that is looked for. */
  found() {
    const wanted = this.search.value.trim().toLowerCase();
    return this.services.filter((one) => String(one.name).toLowerCase().includes(wanted));
  }

  /** Shows a service with its neighbours only; null: all. */
  select(chosen) {
    this.chosen = this.byName.has(chosen) ? chosen : null;
    this.page.note({ service: this.chosen ?? "" });
    const calls = this.chosen === null ? this.calls
      : this.calls.filter((call) => call.from === this.chosen || call.to === this.chosen);
    // Links are drawn where there is no call.
    const pair = (call) => JSON.stringify([call.from, call.to]);
    const called = new Set(calls.filter((call) => !call.isLink).map(pair));
    const near = new Set([this.chosen, ...calls.flatMap((call) => [call.from, call.to])]);
    const services = this.chosen === null ? this.services : this.services.filter((one) => near.has(one.name));
    const start = performance.now();
    // Sweeps cost more in large graphs, and gain less.
    this.plan = layout(services, calls.filter((call) => !call.isLink || !called.has(pair(call))), services.length > 200 ? 8 : 24);
    this.draw();
    this.svg.dataset.milliseconds = Math.round(performance.now() - start);
    this.fit();
    if (this.chosen === null) this.showList();
    else this.showService();
  }

  draw() {
    const { nodes, edges } = this.plan;
    this.svg.classList.toggle("many", edges.length > 150);
    this.svg.classList.remove("pointing");
    put(this.group, edges.map((edge) => (edge.line = this.edge(edge))), nodes.map((node) => this.node(node)));
  }

  edge({ call, points, isBack }) {
    const { width } = this.plan;
    let path = `M${points[0].x + width} ${points[0].y.toFixed(1)}`;
    for (let at = 1; at < points.length; at++) {
      const [a, b] = [points[at - 1], points[at]];
      const [left, right] = [a.x + width, b.x - (at === points.length - 1 && !isBack ? 2 : 0)];
      const bend = Math.max(30, (right - left) / 2);
      const [from, to] = [a.y.toFixed(1), b.y.toFixed(1)];
      path += `C${left + bend} ${from} ${right - bend} ${to} ${right} ${to}`;
      if (b.isBend) path += `H${b.x + width}`;
    }
    const bad = call.errors_share > 0.01;
    return s(`path.edge-line${bad ? ".bad" : ""}${isBack ? ".back" : ""}${call.isLink ? ".link" : ""}`, { d: path,
      "stroke-width": (1 + 3.5 * Math.log1p(call.calls || 0) / Math.log1p(this.most)).toFixed(2),
      [isBack ? "marker-start" : "marker-end"]: "url(#tip-of-arrow)",
      onpointermove: (event) => event.buttons
        || showTip(event, h("p", null, name(call.from), call.isLink ? "→ linked by" : "→", name(call.to)), figures(call)),
        onpointerleave: hideTip });
  }

  /** Shows whom a service calls and who calls it, while the pointer is on it. */
  point(node, isOn) {
    this.svg.classList.toggle("pointing", isOn);
    for (const edge of [...node.out, ...node.in]) edge.line.classList.toggle("near", isOn);
  }

  node(node) {
    const one = node.service;
    const { width, height } = this.plan;
    const top = node.y - height / 2;
    const failed = Math.max(0, Math.min(1, one.errors_share || 0));
    const label = shown(one.name);
    const errors = failed > 0 ? ` · ${share(failed)} err` : "";
    const figuresInShort = `${count(one.calls)} · p95 ${duration(one.p95_ns)}${errors}`;
    return s(`g.node${one.name === this.chosen ? ".selected" : ""}`,
      { transform: `translate(${node.x} ${top.toFixed(1)})`, tabindex: "0", role: "button",
      "aria-label": `${cut(label, 200)}: ${interval(one)} calls, ${share(failed)} errors`,
      onclick: () => this.wasDragged || this.select(one.name === this.chosen ? null : one.name),
      onkeydown: (event) => {
        if (event.key !== "Enter") return;
        event.preventDefault();
        this.select(one.name === this.chosen ? null : one.name);
      },
      onpointermove: (event) => event.buttons
        || showTip(event, h("p", null, service(one.name, colour(one.name))), figures(one)),
      onpointerenter: () => this.point(node, true), onpointerleave: () => {
        this.point(node, false);
        hideTip();
      } },
    s("rect.box", { width, height, rx: 8, style: { "--colour": colour(one.name) } }),
      s("rect", { x: 0, y: 8, width: 4, height: height - 16, rx: 2, style: { fill: colour(one.name) } }),
    failed > 0 && s("rect", { x: 10, y: height - 5, width: Math.max(2, (width - 20) * failed), height: 3,
      rx: 1.5, style: { fill: "var(--error)" } }),
    s("text", { x: 13, y: 18 }, cut(label || "no name", 24)),
    s("text.sub", { x: 13, y: 33 }, figuresInShort));
  }

  showList() {
    const found = this.found();
    this.list = found.slice(0, 300);
    if (this.chosen !== null) this.select(null);
    put(this.side, h("header", null, h("h2", null, "By calls")),
      found.length ? h("table", null, this.head("Service"),
    h("tbody", null, this.list.map((one) => this.line(one, one.name, one))))
      : state("No service has this name."),
    found.length > 300 && h("p.faint", null, `and ${exact(found.length - 300)} more`));
  }

  head(first) {
    return h("thead", null, h("tr", null, h("th", { scope: "col" }, first),
      ["calls", "errors", "p95"].map((text) => h("th.number", { scope: "col" }, text))));
  }

  line(one, text, figures, isLink) {
    return h("tr", { tabindex: "-1", title: `${interval(figures)} calls`,
      onclick: () => this.select(one?.name ?? text) },
      h("td.wide", null, service(text, colour(text)), isLink && h("span.faint", null, " link")),
      h("td.number", null, count(figures.calls)),
      h("td.number", null, figures.errors_share > 0 ? h("span.bad-text", null, share(figures.errors_share))
        : "0"),
      h("td.number", null, duration(figures.p95_ns)));
  }

  showService() {
    const one = this.byName.get(this.chosen);
    const table = (title, calls, end) => [h("h3", null, title),
      calls.length ? h("table", null, this.head("Service"), h("tbody", null,
      calls.sort((a, b) => b.calls - a.calls).slice(0, 200).map((call) =>
        this.line(null, call[end], call, call.isLink))))
        : h("p.faint", null, "none seen")];
    put(this.side, h("header", null, h("h2", null, service(one.name, colour(one.name))),
      h("button.more", { type: "button", onclick: () => this.select(null) }, "Show all")),
        h("div", null, figures(one)),
    h("p.tools", null, h("a", { href: this.page.link("traces", null, { service: one.name }) }, "traces"),
      h("a", { href: this.page.link("latency", null, { service: one.name }) }, "latency")),
    table("Called by", this.calls.filter((call) => call.to === one.name), "from"),
      table("Calls", this.calls.filter((call) => call.from === one.name), "to"));
    this.list = null;
  }

  /** Shows everything. */
  fit() {
    const { clientWidth: width, clientHeight: height } = this.svg;
    if (!this.plan || !width || !height) return;
    this.isFitted = true;
    const { left, top, right, bottom } = this.plan.box;
    this.scale = Math.min(1.25, (width - 40) / (right - left || 1), (height - 40) / (bottom - top || 1));
    this.x = width / 2 - (this.scale * (left + right)) / 2;
    this.y = height / 2 - (this.scale * (top + bottom)) / 2;
    this.move();
  }

  move() {
    this.group.setAttribute("transform", `translate(${this.x} ${this.y}) scale(${this.scale})`);
    // Names too small to read only cost time.
    this.svg.classList.toggle("far", this.scale < 0.28);
  }

  zoom(factor, x = this.svg.clientWidth / 2, y = this.svg.clientHeight / 2) {
    const scale = Math.max(0.02, Math.min(4, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.move();
  }

  listen() {
    let from = null;
    this.svg.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = this.svg.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), event.clientX - box.left,
        event.clientY - box.top);
    }, { passive: false });
    this.svg.addEventListener("pointerdown", (event) => {
      from = { x: event.clientX, y: event.clientY };
      this.wasDragged = false;
    });
    this.svg.addEventListener("pointermove", (event) => {
      if (!from || !event.buttons) return;
      const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
      if (!this.wasDragged && Math.hypot(dx, dy) < 4) return;
      // Not before it is a drag: a captured pointer would take the click from the node.
      if (!this.wasDragged) this.svg.setPointerCapture(event.pointerId);
      this.wasDragged = true;
      [this.x, this.y] = [this.x + dx, this.y + dy];
      from = { x: event.clientX, y: event.clientY };
      this.move();
    });
    for (const kind of ["pointerup", "pointercancel"]) this.svg.addEventListener(kind, () => (from = null));
  }

  key(event) {
    if (event.key === "Escape" && this.chosen !== null) return this.select(null), true;
    if (event.key === "+" || event.key === "-") return this.zoom(event.key === "+" ? 1.3 : 1 / 1.3), true;
    const rows = [...this.side.querySelectorAll("tbody tr")];
    const at = rows.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, j: at + 1, ArrowUp: at - 1, k: at - 1 }[event.key];
    if (to !== undefined && rows.length) rows[Math.max(0, Math.min(rows.length - 1, to))].focus();
    else if (event.key === "Enter" && at >= 0) rows[at].click();
    else return false;
    return true;
  }
}

function figures(one) {
  return h("dl.pairs", null, [["calls", `${interval(one)}`], ["errors", share(one.errors_share)],
    ["p50 · p95 · p99", `${duration(one.p50_ns)} · ${duration(one.p95_ns)} · ${duration(one.p99_ns)}`],
      ["kept spans", exact(one.samples)]]
    .map(([key, value]) => [h("dt", null, key), h("dd", null, value)]));
}
