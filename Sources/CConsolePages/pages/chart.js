// Charts over time: stacked bars and lines, drawn as SVG to the width they have.

import { h, hideTip, name, put, s, showTip } from "./dom.js";
import { clock, roundTicks, timeTicks } from "./format.js";

const [LEFT, RIGHT, TOP, BOTTOM] = [52, 6, 8, 20];

/** A chart that `show` gives its figures: {from, step (both ms), count, series: [{name, colour, values,
 * isTarget}], format}. `kind`: "bars" stacks the series, "lines" doesn't. Values may be null where nothing is
 * known. */
export function timeChart(view, kind, label) {
  const element = s("svg.chart", { role: "img", "aria-label": label });
  let data = null;
  let width = 0;
  const draw = () => {
    width = element.clientWidth;
    if (data && width) put(element, ...drawing(kind, data, width, element.clientHeight || 170));
  };
  const observer = new ResizeObserver(() => element.clientWidth !== width && draw());
  observer.observe(element);
  view.signal.addEventListener("abort", () => observer.disconnect());
  element.addEventListener("pointermove", (event) => hover(element, data, event));
  element.addEventListener("pointerleave", () => {
    hideTip();
    element.querySelector(".guide")?.style.setProperty("visibility", "hidden");
  });
  element.show = (shown) => {
    data = shown;
    draw();
  };
  return element;
}

function highest(kind, { series, count }) {
  let most = 0;
  for (let at = 0; at < count; at++) {
    let sum = 0;
    for (const { values } of series) {
      const value = values[at] ?? 0;
      sum = kind === "bars" ? sum + value : Math.max(sum, value);
    }
    most = Math.max(most, sum);
  }
  return most;
}

function drawing(kind, data, width, height) {
  const { from, step, count, series, format } = data;
  const [inner, tall] = [width - LEFT - RIGHT, height - TOP - BOTTOM];
  const ticks = roundTicks(highest(kind, data) || 1, 3);
  const most = Math.max(highest(kind, data) * 1.04, ticks.at(-1)) || 1;
  const x = (at) => LEFT + (inner * at) / Math.max(1, count);
  const y = (value) => TOP + tall * (1 - value / most);
  const parts = [];
  for (const value of ticks) {
    parts.push(s("line.grid", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      s("text", { x: LEFT - 7, y: y(value) + 4, "text-anchor": "end" }, format(value)));
  }
  for (const { at, text } of timeTicks(from, from + step * count, inner / 90)) {
    const place = x((at - from) / step);
    if (place > LEFT + 8 && place < width - 16) {
      parts.push(s("text", { x: place, y: height - 5, "text-anchor": "middle" }, text));
    }
  }
  parts.push(...(kind === "bars" ? bars(series, count, x, y) : lines(series, count, x, y)));
  parts.push(s("line.guide", { y1: TOP, y2: TOP + tall, x1: 0, x2: 0 }));
  return parts;
}

function bars(series, count, x, y) {
  const base = new Float64Array(count);
  const thick = Math.max(1, x(1) - x(0) - 1.5);
  return series.map(({ values, colour }) => {
    let path = "";
    for (let at = 0; at < count; at++) {
      const value = values[at] ?? 0;
      if (!(value > 0)) continue;
      const [low, high] = [y(base[at]), y(base[at] + value)];
      path += `M${(x(at) + 0.75).toFixed(1)} ${low.toFixed(1)}V${high.toFixed(1)}`
        + `h${thick.toFixed(1)}V${low.toFixed(1)}z`;
      base[at] += value;
    }
    return s("path", { d: path, style: { fill: colour } });
  });
}

function lines(series, count, x, y) {
  return series.map(({ values, colour, isTarget }) => {
    let path = "";
    let isPen = false;
    for (let at = 0; at < count; at++) {
      const value = values[at];
      if (typeof value === "number") {
        path += `${isPen ? "L" : "M"}${x(at + 0.5).toFixed(1)} ${y(value).toFixed(1)}`;
      }
      isPen = typeof value === "number";
    }
    return s(isTarget ? "path.target" : "path", { d: path, fill: "none", "stroke-width": isTarget ? 1.2 : 2,
      "stroke-linejoin": "round", style: isTarget ? {} : { stroke: colour } });
  });
}

function hover(element, data, event) {
  if (!data) return;
  const box = element.getBoundingClientRect();
  const at = Math.floor(((event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)) * data.count);
  if (at < 0 || at >= data.count) return hideTip();
  const guide = element.querySelector(".guide");
  const place = LEFT + ((box.width - LEFT - RIGHT) * (at + 0.5)) / data.count;
  guide?.setAttribute("x1", place);
  guide?.setAttribute("x2", place);
  guide?.style.setProperty("visibility", "visible");
  const start = data.from + at * data.step;
  showTip(event, h("div.faint", null, `${clock(start)} – ${clock(start + data.step)} UTC`),
    [...data.series].reverse().map((one) => h("p", null, h("span.service", null,
      h("span.dot", { style: { "--colour": one.colour } }), name(one.name)),
        h("b", null, data.format(one.values[at] ?? NaN)))));
}

/** What the colours stand for, with a figure each. */
export function legend(series, format) {
  return h("div.legend", null, series.map(({ name: text, colour, total }) => h("span.service", null,
    h("span.dot", { style: { "--colour": colour } }), name(text),
      total === undefined ? null : h("b", null, format(total)))));
}
