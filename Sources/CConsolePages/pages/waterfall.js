// The spans of a trace as a waterfall. Only the rows that are seen exist, so that thousands of spans scroll
// smoothly.

import { canvas, h, hideTip, name, palette, put, service, showTip } from "./dom.js";
import { colour, duration, exact, nanoseconds, roundTicks } from "./format.js";
import { sizes, visibleRows } from "./tracemodel.js";

const ROW = 24;
const EXTRA = 8;

class Waterfall {
  constructor(view, model, onSelect) {
    Object.assign(this, { view, model, onSelect, collapsed: new Set(), below: sizes(model), matches: [],
      matching: new Set(),
      selected: null, window: null, isPathShown: true, drawn: new Map() });
    this.map = canvas(view, "minimap", "the whole trace; drag to zoom into a stretch of time",
      (...all) => this.drawMap(...all));
    // What of the rows is seen; apart from the canvas, so that scrolling doesn't draw thousands of bars anew.
    this.seen = h("div.seen", { "aria-hidden": "true" });
    this.axis = h("div.axis", { "aria-hidden": "true" });
    this.all = h("div.all");
    this.spans = h("div.spans", { tabindex: "0", role: "tree", "aria-label": "Spans" }, this.all);
    const split = h("div.split", { role: "separator", "aria-orientation": "vertical",
      "aria-label": "Width of the names", tabindex: "0" });
    this.element = h("section.panel.waterfall", { "aria-label": "Waterfall" },
      h("div.map-frame", null, this.map, this.seen), this.axis, this.spans, split);
    this.spans.addEventListener("scroll", () => this.draw(), { passive: true });
    const observer = new ResizeObserver(() => this.draw());
    observer.observe(this.spans);
    view.signal.addEventListener("abort", () => observer.disconnect());
    this.listen(split);
    this.rebuild();
  }

  get low() { return this.window?.[0] ?? this.model.low; }
  get high() { return this.window?.[1] ?? this.model.high; }

  /** Finds the rows anew: after a collapse, or when spans have moved. */
  rebuild() {
    this.rows = visibleRows(this.model, this.collapsed);
    this.place = new Map(this.rows.map((span, at) => [span, at]));
    this.all.style.height = `${this.rows.length * ROW}px`;
    this.redraw();
  }

  redraw() {
    this.drawAxis();
    this.redrawRows();
    this.map.redraw();
  }

  redrawRows() {
    this.drawn.clear();
    this.all.replaceChildren();
    this.draw();
  }

  /** Draws the rows that are seen and a few more; keeps those that are there already. */
  draw() {
    const first = Math.max(0, Math.floor(this.spans.scrollTop / ROW) - EXTRA);
    const bottom = this.spans.scrollTop + this.spans.clientHeight;
    const last = Math.min(this.rows.length, Math.ceil(bottom / ROW) + EXTRA);
    for (const [at, row] of this.drawn) {
      if (at >= first && at < last) continue;
      row.remove();
      this.drawn.delete(at);
    }
    for (let at = first; at < last; at++) {
      if (this.drawn.has(at)) continue;
      const row = this.row(this.rows[at], at);
      this.drawn.set(at, row);
      this.all.append(row);
    }
    const all = this.rows.length * ROW || 1;
    this.seen.style.top = `${(100 * this.spans.scrollTop) / all}%`;
    this.seen.style.height = `${Math.min(100, (100 * this.spans.clientHeight) / all)}%`;
  }

  percent(time) {
    return (100 * (time - this.low)) / (this.high - this.low);
  }

  row(span, at) {
    const { model } = this;
    const isOpen = !this.collapsed.has(span);
    const classes = ["row", span === this.selected && "selected", span.isError && "failed",
      span.isGhost && "ghost",
      this.matching.has(span) && "match"].filter(Boolean).join(".");
    const fold = span.children.length > 0 && h("button.fold",
      { type: "button", tabindex: "-1", "aria-label": isOpen ? "Collapse" : "Expand" },
      isOpen ? "▾" : "▸");
    const row = h(`div.${classes}`, { role: "treeitem", id: `row-${at}`, "aria-level": span.depth + 1,
      "aria-selected": String(span === this.selected),
      "aria-expanded": span.children.length ? String(isOpen) : null,
        style: { top: `${at * ROW}px`, "--colour": colour(span.service) } },
    h("div.tree", { style: { "padding-left": `${8 + Math.min(span.depth, 24) * 12}px` } },
      fold || h("span.fold"), h("span.edge"),
      span === model.origin && h("span.flag.origin", { title: "the error began here" }, "origin"),
      span.isError && span !== model.origin && h("span.flag.error", { title: "status ERROR" }, "!"),
      span.isSkewed && h("span.flag.skew", { title: "outside its caller's span: the clocks differ" }, "◷"),
      span.isCut && h("span.flag.skew", { title: "its parents form a circle" }, "↻"),
      !span.isGhost && name(span.service, "bdi.name.service-name"),
        name(span.operation, "bdi.name.operation"),
      !isOpen && h("span.faint", null, `+${exact(this.below.get(span))}`)),
    this.lane(span));
    row.span = span;
    return row;
  }

  lane(span) {
    const [left, right] = [this.percent(span.start), this.percent(span.end)];
    if (right < 0 || left > 100) return h("div.lane");
    // A span that ends the trace is too short for its share of the width: its bar still has room in the lane.
    const at = (from, to) => ({ left: `min(${Math.max(-1, from)}%, 100% - 3px)`,
      width: `${Math.min(101, to) - Math.max(-1, from)}%` });
    const label = right < 82 ? { left: `${Math.max(0, right)}%` } : left > 18
      ? { right: `${Math.max(0, 100 - left)}%` } : { left: `${Math.max(0, left)}%` };
    const events = (span.raw.events ?? []).slice(0, 20).map((event) => {
      const time = Number(nanoseconds(event.time_ns) - this.model.first) + (this.model.isCorrected ? span.skew
        : 0);
      const place = this.percent(time);
      return place >= 0 && place <= 100 && h("i.event-mark", { style: { left: `${place}%` } });
    });
    return h("div.lane", null, h("i.span-bar", { style: at(left, right) }),
      span.path.map(([from, to]) => [this.percent(from), this.percent(to)])
      .filter(([from, to]) => to >= 0 && from <= 100).slice(0,
        200).map(([from, to]) => h("i.critical", { style: at(from, to) })), events,
    h(right >= 82 && left <= 18 ? "span.label.inside" : "span.label", { style: label },
      duration(span.duration)));
  }

  drawAxis() {
    const range = this.high - this.low;
    const offset = this.low - this.model.low;
    const [, ...ticks] = roundTicks(range, 6);
    // The axis covers the lanes only.
    const place = (part) => `calc(var(--names) + (100% - var(--names)) * ${part})`;
    put(this.axis, h("span", { style: { left: place(0) } }, duration(offset)),
      ticks.filter((tick) => tick < range * 0.97).map((tick) => [
      h("i", { style: { left: place(tick / range) } }),
        h("span", { style: { left: place(tick / range) } }, duration(offset + tick))]));
  }

  drawMap(context, width, height) {
    const look = palette();
    const { low, high } = this.model;
    const x = (time) => (width * (time - low)) / (high - low);
    const tall = (height - 8) / Math.max(1, this.rows.length);
    for (const [at, span] of this.rows.entries()) {
      context.fillStyle = look(span.isError ? "--error" : span.isGhost ? "--line" : colour(span.service));
      const wide = Math.max(2, x(span.end) - x(span.start));
      context.fillRect(Math.min(x(span.start), width - wide), 4 + at * tall, wide,
        Math.max(1, Math.min(4, tall - 0.5)));
    }
    context.fillStyle = look("--back");
    context.globalAlpha = 0.75;
    if (this.window) {
      context.fillRect(0, 0, x(this.low), height);
      context.fillRect(x(this.high), 0, width, height);
    }
    if (this.drag) {
      context.fillStyle = look("--accent");
      context.globalAlpha = 0.25;
      context.fillRect(this.drag[0], 0, this.drag[1] - this.drag[0], height);
    }
    context.globalAlpha = 1;
  }

  listen(split) {
    this.all.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (!row) return;
      if (event.target.closest("button.fold")) this.fold(row.span);
      else this.select(row.span, false);
    });
    this.all.addEventListener("dblclick", (event) => {
      const row = event.target.closest(".row");
      if (row && event.target.closest(".lane")) this.zoom([row.span.start,
        Math.max(row.span.end, row.span.start + 1)]);
    });
    this.all.addEventListener("pointermove", (event) => {
      const span = event.target.closest(".lane") && event.target.closest(".row").span;
      if (!span || event.buttons) return hideTip();
      showTip(event, h("p", null, service(span.service, colour(span.service)),
        h("b", null, duration(span.duration))),
        h("p", null, name(span.operation)),
        h("p.faint", null, `from ${duration(span.start - this.model.low)} on`,
          span.onPath > 0 && h("span", null, `critical path ${duration(span.onPath)}`)));
    });
    this.all.addEventListener("pointerleave", hideTip);
    this.listenToMap();
    const setSplit = (percent) => this.element.style.setProperty("--names",
      `${Math.max(12, Math.min(75, percent))}%`);
    split.addEventListener("pointerdown", (event) => split.setPointerCapture(event.pointerId));
    split.addEventListener("pointermove", (event) => {
      const box = this.element.getBoundingClientRect();
      if (split.hasPointerCapture(event.pointerId)) setSplit((100 * (event.clientX - box.left)) / box.width);
    });
    split.addEventListener("keydown", (event) => {
      const change = { ArrowLeft: -3, ArrowRight: 3 }[event.key];
      if (!change) return;
      event.preventDefault();
      setSplit((parseFloat(getComputedStyle(this.element).getPropertyValue("--names")) || 38) + change);
    });
  }

  listenToMap() {
    const { map } = this;
    const place = (event) => Math.max(0, Math.min(map.clientWidth,
      event.clientX - map.getBoundingClientRect().left));
    map.addEventListener("pointerdown", (event) => {
      map.setPointerCapture(event.pointerId);
      this.drag = [place(event), place(event)];
    });
    map.addEventListener("pointermove", (event) => {
      if (!this.drag) return;
      this.drag[1] = place(event);
      map.redraw();
    });
    map.addEventListener("pointerup", (event) => {
      if (!this.drag) return;
      const [from, to] = [...this.drag].sort((a, b) => a - b);
      this.drag = null;
      const { low, high } = this.model;
      const time = (x) => low + ((high - low) * x) / map.clientWidth;
      if (to - from > 4) return this.zoom([time(from), time(to)]);
      // A click without a drag leads to the rows at that height.
      const part = (event.clientY - map.getBoundingClientRect().top - 4) / (map.clientHeight - 8);
      this.spans.scrollTop = part * this.rows.length * ROW - this.spans.clientHeight / 2;
    });
    map.addEventListener("dblclick", () => this.zoom(null));
  }

  zoom(window) {
    this.window = window;
    this.redraw();
  }

  fold(span) {
    if (!span.children.length) return;
    if (!this.collapsed.delete(span)) this.collapsed.add(span);
    this.rebuild();
  }

  collapseAll() {
    this.collapsed = new Set([...this.model.spans,
      ...this.model.ghosts].filter((span) => span.children.length && span.depth > 0));
    this.rebuild();
  }

  expandAll() {
    this.collapsed.clear();
    this.rebuild();
  }

  togglePath() {
    this.isPathShown = !this.isPathShown;
    this.all.classList.toggle("no-path", !this.isPathShown);
    this.onPath?.(this.isPathShown);
  }

  /** Selects a span, expands what hides it, and scrolls to it. */
  select(span, isScrolled = true) {
    this.selected = span;
    if (span) {
      let isHidden = false;
      for (let above = span.parent; above; above = above.parent) isHidden = this.collapsed.delete(above)
        || isHidden;
      if (isHidden) this.rebuild();
    }
    this.onSelect(span);
    if (span && isScrolled) {
      const top = this.place.get(span) * ROW;
      const { scrollTop, clientHeight } = this.spans;
      if (top < scrollTop || top + ROW > scrollTop + clientHeight) {
        this.spans.scrollTop = top - clientHeight / 2;
      }
    }
    this.redrawRows();
    // On narrow screens the panel covers the lower half: the page scrolls, too.
    if (span && isScrolled && matchMedia("(max-width: 960px)").matches) {
      this.drawn.get(this.place.get(span))?.scrollIntoView({ block: "nearest" });
    }
    const at = span ? this.place.get(span) : null;
    if (at === null) this.spans.removeAttribute("aria-activedescendant");
    else this.spans.setAttribute("aria-activedescendant", `row-${at}`);
    this.spans.focus({ preventScroll: true });
  }

  /** Marks the spans that have the text in their names or attributes; returns how many. */
  find(text) {
    const wanted = text.trim().toLowerCase();
    const has = (value) => String(value).toLowerCase().includes(wanted);
    const match = (span) => has(span.service) || has(span.operation) || has(span.id)
      || has(span.raw.status_message ?? "")
      || (span.raw.attributes ?? []).some(([key, value]) => has(key) || has(value));
    const found = wanted ? new Set(this.model.spans.filter(match)) : new Set();
    this.matching = found;
    this.matches = visibleRows(this.model, new Set()).filter((span) => found.has(span));
    if (this.matches.length) {
      const top = (this.place.get(this.matches[0]) ?? 0) * ROW;
      this.spans.scrollTop = top - this.spans.clientHeight / 3;
    }
    this.redrawRows();
    return this.matches.length;
  }

  nextMatch(step) {
    if (!this.matches.length) return;
    const at = this.matches.indexOf(this.selected);
    const next = at < 0 ? (step > 0 ? 0 : -1) : at + step;
    this.select(this.matches.at(next % this.matches.length));
  }

  key(event) {
    const at = this.selected ? this.place.get(this.selected) ?? -1 : -1;
    const page = Math.floor(this.spans.clientHeight / ROW);
    const to = { ArrowDown: at + 1, j: at + 1, ArrowUp: at - 1, k: at - 1, PageDown: at + page,
      PageUp: at - page, Home: 0,
      End: this.rows.length - 1 }[event.key];
    const span = this.selected;
    if (to !== undefined) this.select(this.rows[Math.max(0, Math.min(this.rows.length - 1, to))]);
    else if (event.key === "n") this.nextMatch(1);
    else if (event.key === "N") this.nextMatch(-1);
    else if (event.key === "Enter" && !event.target.closest?.("button, a, summary")) this.select(span
      ?? this.rows[0]);
    else if (event.key === "ArrowLeft" && span) {
      if (span.children.length && !this.collapsed.has(span)) this.fold(span);
      else if (span.parent) this.select(span.parent);
    } else if (event.key === "ArrowRight" && span) {
      if (this.collapsed.has(span)) this.fold(span);
      else if (span.children.length) this.select(span.children[0]);
    } else return false;
    return true;
  }
}

/** A waterfall; `onSelect` is told the selected span, or null. */
export function waterfall(view, model, onSelect) {
  return new Waterfall(view, model, onSelect);
}
