// The search box's language: words and `key:value`, as in `checkout error >200ms http.status_code=500`.

const UNITS = { ns: 1, us: 1e3, "µs": 1e3, "μs": 1e3, ms: 1e6, s: 1e9, m: 60e9, min: 60e9, h: 3600e9 };

/** Nanoseconds of "200ms", "1.5s"; null if it is something else. A figure alone is milliseconds. */
export function parseDuration(text) {
  const match = /^(\d+(?:\.\d+)?)\s*(ns|us|µs|μs|ms|s|min|m|h)?$/.exec(text.trim());
  return match ? Math.round(Number(match[1]) * UNITS[match[2] ?? "ms"]) : null;
}

/** Splits at spaces; quotes hold words together. */
function words(text) {
  const found = [];
  for (const match of text.matchAll(/(?:[^\s"]|"[^"]*(?:"|$))+/g)) found.push(match[0].replaceAll('"', ""));
  return found;
}

/** A trace's id, or the parameters of the page of traces. */
export function parseSearch(text, services = []) {
  const trimmed = text.trim();
  if (/^[0-9a-f]{32}$/i.test(trimmed)) return { id: trimmed.toLowerCase(), parameters: {} };
  const parameters = { tag: [] };
  const names = { service: "service", operation: "operation", op: "operation", reason: "reason",
    policy: "policy",
    sort: "sort" };
  for (const word of words(trimmed)) {
    const [, key, value] = /^([a-z]+):(.+)$/s.exec(word) ?? [];
    const limit = /^([<>])=?(.+)$/.exec(word);
    if (key && names[key]) parameters[names[key]] = value;
    else if (limit && parseDuration(limit[2]) !== null) {
      parameters[limit[1] === ">" ? "min_duration" : "max_duration"] = limit[2];
    } else if (word === "error" || word === "errors") parameters.error = "1";
    else if (word.includes("=")) parameters.tag.push(word);
    else if (services.includes(word) || !parameters.service) parameters.service = word;
    else parameters.operation = word;
  }
  return { id: null, parameters };
}

/** The parameters as text for the search box. */
export function searchTextOf(parameters) {
  const quoted = (text) => (/\s/.test(text) ? `"${text}"` : text);
  const parts = [];
  for (const [key, value] of parameters) {
    if (value === "" || ["from", "to", "sort", "limit"].includes(key)) continue;
    if (key === "error") parts.push("error");
    else if (key === "tag") parts.push(quoted(value));
    else if (key === "min_duration") parts.push(`>${value}`);
    else if (key === "max_duration") parts.push(`<${value}`);
    else parts.push(`${key}:${quoted(value)}`);
  }
  return parts.join(" ");
}
