// Builds elements. Names in traces are hostile text: everything goes in as text nodes or as attributes that
// can't run anything; nothing here parses HTML.

import { cut, shown } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [name,
      text] of Object.entries(value)) element.style.setProperty(name, text);
    else if (key === "value" || key === "checked") element[key] = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

/** Appends nodes and text; skips what is null or false. */
export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** An element: `h("td.number", {title: "…"}, "12")`. `style` is an object; `onclick` and the like are
 * listeners. */
export function h(selector, properties, ...children) {
  const [tag, ...classes] = selector.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  return fill(element, properties, children);
}

/** An element of SVG. */
export function s(selector, properties, ...children) {
  const [tag, ...classes] = selector.split(".");
  const element = document.createElementNS(SVG, tag);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  return fill(element, properties, children);
}

/** Replaces what is in an element. */
export function put(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** A name from a trace: isolated from the text around it, cut by CSS, whole in its title. */
export function name(text, selector = "bdi.name") {
  const all = shown(text);
  return h(selector, { title: cut(all, 2000) }, all === "" ? h("i.none", null, "no name") : cut(all, 300));
}

/** A dot in a service's colour. */
export function dot(colour) {
  return h("span.dot", { style: { "--colour": colour }, "aria-hidden": "true" });
}

/** A service's dot and name. */
export function service(text, colour) {
  return h("span.service", null, dot(colour), name(text));
}

/** What stands in for a page's content: nothing found, not yet there, or failed. */
export function state(text, ...more) {
  return h("div.state", null, h("p", null, text), ...more);
}

/** Loads something and shows it; says so while it takes long, and if it fails, why, with a way to try again.
 * */
export async function load(holder, view, fetcher, show, slowText = "Loading…") {
  const waiting = setTimeout(() => {
    if (!view.signal.aborted) put(holder, state(slowText, h("div.pulse", { "aria-hidden": "true" })));
  }, holder.childElementCount ? 400 : 120);
  holder.setAttribute("aria-busy", "true");
  try {
    const data = await fetcher();
    clearTimeout(waiting);
    if (view.signal.aborted) return;
    show(data);
  } catch (error) {
    clearTimeout(waiting);
    if (view.signal.aborted || error.name === "AbortError") return;
    const again = () => load(holder, view, fetcher, show, slowText);
    put(holder, failure(error, again));
  } finally {
    holder.removeAttribute("aria-busy");
  }
}

/** What failed, and a button to try again. */
export function failure(error, again) {
  const box = state("That didn't work.", h("p.reason", { role: "alert" }, cut(shown(error.message), 1000)),
    again && h("button", { type: "button", onclick: again }, "Try again"));
  box.classList.add("failed");
  return box;
}

const tip = document.getElementById("tip");

/** Shows lines beside the pointer. */
export function showTip(event, ...children) {
  put(tip, ...children);
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = event.clientX + 14 + width > innerWidth ? event.clientX - width - 14 : event.clientX + 14;
  const top = event.clientY + 14 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 14;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, top)}px`;
}

/** Hides them. */
export function hideTip() {
  tip.hidden = true;
}

/** A canvas that is drawn anew when its size or the theme changes. `draw(context, width, height)`. */
export function canvas(view, selector, label, draw) {
  const element = h(`canvas.${selector}`, { role: "img", "aria-label": label });
  let isDue = false;
  element.redraw = () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      const { clientWidth: width, clientHeight: height } = element;
      if (!width || !height) return;
      const scale = devicePixelRatio || 1;
      if (element.width !== Math.round(width * scale)) element.width = Math.round(width * scale);
      if (element.height !== Math.round(height * scale)) element.height = Math.round(height * scale);
      const context = element.getContext("2d");
      context.setTransform(scale, 0, 0, scale, 0, 0);
      context.clearRect(0, 0, width, height);
      draw(context, width, height);
    });
  };
  const observer = new ResizeObserver(element.redraw);
  observer.observe(element);
  view.signal.addEventListener("abort", () => observer.disconnect());
  addEventListener("theme", element.redraw, { signal: view.signal });
  return element;
}

/** The colours of the theme, for canvases: `palette()("--error")`, `palette()("var(--s3)")`. */
export function palette() {
  const style = getComputedStyle(document.documentElement);
  const known = new Map();
  return (variable) => {
    const key = variable.replace(/^var\(|\)$/g, "");
    if (!known.has(key)) known.set(key, style.getPropertyValue(key).trim() || "#888");
    return known.get(key);
  };
}

/** Keys of a list: arrows, j and k, Home, End, Enter. True if the key was one of them. */
export function listKey(event, list) {
  if (event.ctrlKey || event.metaKey || event.altKey || !list.count) return false;
  const last = list.count - 1;
  const page = list.page ?? 20;
  const to = {
    ArrowDown: list.active + 1, j: list.active + 1, ArrowUp: list.active - 1, k: list.active - 1, Home: 0,
      End: last,
    PageDown: list.active + page, PageUp: list.active - page,
  }[event.key];
  if (to !== undefined) list.move(Math.max(0, Math.min(last, to)));
  else if (event.key === "Enter" && list.active >= 0) list.open(list.active);
  else return false;
  event.preventDefault();
  return true;
}

/** Whether keys typed now are text. */
export function isTyping(event) {
  const target = event.target;
  return target instanceof HTMLElement
    && (target.isContentEditable || ["INPUT", "SELECT", "TEXTAREA"].includes(target.tagName));
}
