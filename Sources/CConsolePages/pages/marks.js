// The short marks of a trace: failed, slow, late, recalled.

import { h } from "./dom.js";
import { cut, shown } from "./format.js";

/** A reason and its policy, in few words. */
export function reasonName(row) {
  const [reason, policy] = [String(row.reason ?? ""), String(row.policy ?? "")];
  if (!reason || !policy || reason === policy) return reason || policy || "unknown";
  return `${reason} · ${policy}`;
}

/** The marks of a row of /v1/traces. */
export function marks(row) {
  return h("span.marks", null,
    row.error && h("span.mark.error", { title: "has a span with status ERROR" }, "error"),
    row.slow && h("span.mark.slow", { title: "kept for its duration" }, "slow"),
    row.late && h("span.mark", { title: "spans came after the verdict" }, "late"),
    row.recalled && h("span.mark.note", { title: "dropped at first, then read again from the log" },
      "recalled"),
    row.truncated && h("span.mark", { title: "over a limit: some spans were left out" }, "cut"));
}

/** The reason that a trace was kept for. */
export function reasonMark(row) {
  const text = reasonName(row);
  return h("span.mark", { title: cut(shown(text), 1000) }, h("bdi", null, cut(shown(text), 100)));
}
