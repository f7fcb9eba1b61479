// Figures, times and names as text; a colour per service.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

function significant(value, digits = 3) {
  if (value === 0) return "0";
  const places = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(places, 6)).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** A count: whole below 10,000, else shortened. */
export function count(value) {
  if (!isNumber(value)) return "–";
  if (Math.abs(value) >= 10_000) return compact.format(value);
  return Number.isInteger(value) || Math.abs(value) >= 100 ? whole.format(value) : significant(value);
}

/** A count with all its digits. */
export function exact(value) {
  return isNumber(value) ? whole.format(value) : "–";
}

/** A share of 0 to 1, as a percentage. */
export function share(value) {
  return isNumber(value) ? percentage(value * 100) : "–";
}

/** A percentage. */
export function percentage(value) {
  if (!isNumber(value)) return "–";
  return value > 0 && value < 0.01 ? "< 0.01 %" : `${significant(value, 3)} %`;
}

/** Bytes. */
export function bytes(value) {
  if (!isNumber(value)) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) (value /= 1024), unit++;
  return `${significant(value)} ${units[unit]}`;
}

/** A duration in nanoseconds. */
export function duration(ns) {
  if (!isNumber(ns)) return "–";
  const sign = ns < 0 ? "−" : "";
  const value = Math.abs(ns);
  if (value < 1e3) return `${sign}${significant(value)} ns`;
  if (value < 999.5e3) return `${sign}${significant(value / 1e3)} µs`;
  if (value < 999.5e6) return `${sign}${significant(value / 1e6)} ms`;
  if (value < 120e9) return `${sign}${significant(value / 1e9)} s`;
  const seconds = Math.round(value / 1e9);
  if (seconds < 7200) return `${sign}${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${sign}${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** An instant in nanoseconds since 1970, from text or a number; 0 if it is neither. */
export function nanoseconds(value) {
  try {
    return BigInt(typeof value === "number" ? Math.trunc(value) : value ?? 0);
  } catch {
    return 0n;
  }
}

/** The same in milliseconds. */
export function milliseconds(value) {
  return Number(nanoseconds(value) / 1000n) / 1000;
}

function iso(ms) {
  return Number.isFinite(ms) && Math.abs(ms) < 8.64e15 ? new Date(ms).toISOString() : "–";
}

/** The time of day in UTC, of milliseconds since 1970. `places`: decimal places of the seconds. */
export function clock(ms, places = 0) {
  return iso(ms).slice(11, places ? 20 + places : 19);
}

/** The day and the time in UTC, of nanoseconds since 1970. */
export function instant(ns) {
  const value = nanoseconds(ns);
  const fraction = String(((value % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n).padStart(9, "0");
  const text = iso(milliseconds(ns));
  return text === "–" ? text : `${text.slice(0, 10)} ${text.slice(11, 19)}.${fraction.slice(0, 6)} UTC`;
}

/** The labels of a time axis from `from` to `to` in ms: up to `most` round times. */
export function timeTicks(from, to, most) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400,
    172800,
    604800];
  const wanted = (to - from) / 1000 / Math.max(1, most);
  const step = (steps.find((seconds) => seconds >= wanted) ?? steps.at(-1)) * 1000;
  const ticks = [];
  for (let at = Math.ceil(from / step) * step; at <= to && ticks.length < 50; at += step) {
    const text = iso(at);
    ticks.push({ at, text: step >= 86_400_000 ? text.slice(5, 10)
      : text.slice(11, step < 60_000 ? 19 : 16) });
  }
  return ticks;
}

/** Powers of ten from `low` to `high`, for a logarithmic axis of durations. */
export function decades(low, high) {
  const ticks = [];
  for (let power = Math.ceil(Math.log10(low)); power <= Math.log10(high); power++) ticks.push(10 ** power);
  return ticks;
}

/** Round values from 0 to `most`, for a linear axis. */
export function roundTicks(most, wanted = 4) {
  if (!(most > 0)) return [0];
  const raw = most / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= raw);
  const ticks = [];
  for (let at = 0; at <= most * 1.0001; at += step) ticks.push(at);
  return ticks;
}

// Control characters, and those that reorder text or can't be seen: they could make one name look like
// another.
const UNSEEN = "\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff";
const INVISIBLE = new RegExp(`[\\u0000-\\u001f${UNSEEN}]`, "g");
const INVISIBLE_BUT_LINES = new RegExp(`[\\u0000-\\u0008\\u000b-\\u001f${UNSEEN}]`, "g");

const escaped = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** A name with invisible characters escaped. */
export function shown(text) {
  return String(text ?? "").replace(INVISIBLE, escaped);
}

/** A longer text; lines and tabs stay. */
export function shownLines(text) {
  return String(text ?? "").replace(INVISIBLE_BUT_LINES, escaped);
}

/** The text, cut after `most` UTF-16 units. */
export function cut(text, most) {
  return text.length <= most ? text : `${text.slice(0, most).replace(/[\ud800-\udbff]$/, "")}…`;
}

// Colours: `--s0` to `--s19` in the style sheet, light and dark.
const COLOURS = 20;
const taken = new Map();
const uses = new Array(COLOURS).fill(0);

/** FNV-1a over UTF-16 units: the same name always wants the same colour. */
function hash(text) {
  let value = 0x811c9dc5;
  for (let at = 0; at < Math.min(text.length, 256); at++) value = Math.imul(value ^ text.charCodeAt(at),
    0x01000193);
  return (value ^ (value >>> 15)) >>> 0;
}

/** A service's colour, as a CSS variable. If another one has it already, the next of the least used ones. */
export function colour(service) {
  const key = String(service ?? "");
  let slot = taken.get(key);
  if (slot === undefined) {
    const least = Math.min(...uses);
    slot = hash(key) % COLOURS;
    while (uses[slot] > least) slot = (slot + 7) % COLOURS;
    if (taken.size < 10_000) {
      taken.set(key, slot);
      uses[slot]++;
    }
  }
  return `var(--s${slot})`;
}

/** Reserves colours in the order of the names, so that they don't depend on which page was opened first. */
export function reserveColours(services) {
  for (const service of [...services].sort()) colour(service);
}

/** A policy's colour: the usual ones have fixed ones. */
export function reasonColour(reason, index) {
  if (/err/i.test(reason)) return "var(--error)";
  if (/slow|latency/i.test(reason)) return "var(--slow)";
  if (/base|prob/i.test(reason)) return "var(--accent)";
  return `var(--s${(index * 7 + 11) % COLOURS})`;
}
