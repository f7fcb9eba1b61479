// Why a trace was kept or dropped: what came when, and what each policy saw and wants.

import { get } from "./api.js";
import { h, load, name, put, service, state } from "./dom.js";
import { colour, count, cut, duration, exact, percentage, shown } from "./format.js";

const MINUTES = 5;
const SPANS_MAX = 2000;

export function open(view) {
  const input = h("input.mono", { name: "id", value: view.id, size: 40, maxlength: 100,
    placeholder: "trace id: 32 hexadecimal digits", "aria-label": "Trace id",
    spellcheck: "false", autocomplete: "off" });
  const holder = h("div.body");
  view.main.append(h("form.panel.tools", { onsubmit(event) {
    event.preventDefault();
    view.go("explain", input.value.trim().toLowerCase());
  } }, h("h1", null, "Explain"), input, h("button.main", null, "Explain"),
    h("span.faint", null, "Kept or dropped: the topics are read again for it.")), holder);
  view.focusSearch = () => input.select();
  if (!view.id) return void holder.append(state("Which trace? Enter its id, also of one that was dropped."));
  if (!/^[0-9a-f]{32}$/i.test(view.id)) {
    return void holder.append(state("That is no trace id: it has 32 hexadecimal digits."));
  }
  load(holder, view, () => get(`v1/explain/${view.id}`, {},
    { signal: view.signal, timeout: MINUTES * 60_000 }), (story) => show(view, holder, story),
    "Reading the topics for it; that may take a while…");
}

function show(view, holder, story) {
  const verdicts = { keep: "Kept", drop: "Dropped" };
  const verdict = verdicts[story.verdict] ?? "No verdict yet";
  put(holder,
    h("section.panel", null, h("p.verdict", null,
      h(story.verdict === "keep" ? "span" : "span.soft", null, verdict),
      (story.reasons ?? []).length ? [" by ",
        story.reasons.map((reason) => [h("span.mark.note", null, h("bdi", null, cut(shown(reason), 100))),
        " "])] : null),
    h("p.facts", null, h("span", null, `${exact(story.span_count)} spans`),
      typeof story.probability === "number" && h("span", null,
        `kept with probability ${percentage(story.probability * 100)}`),
      typeof story.adjusted_count === "number"
        && h("span", null, `stands for ${count(story.adjusted_count)}`),
      story.truncated_spans > 0 && h("span.slow-text", null,
        `${exact(story.truncated_spans)} spans were left out`),
      story.is_recalled && h("span", null, "recalled"),
        story.verdict === "keep" && h("a", { href: view.link("trace", view.id) }, "its waterfall")),
    (story.notes ?? []).map((note) => h("p.slow-text", null, cut(shown(note), 2000)))),
    h("section.panel", null, h("header", null, h("h2", null, "What happened")), story.events?.length
      ? h("ol.timeline", null, story.events.slice(0, 1000).map(eventLine))
        : h("p.faint", null, "Nothing is known.")),
    h("section.panel", null, h("header", null, h("h2", null, "What the policies say")), story.policies?.length
      ? answers(story.policies, 0) : h("p.faint", null,
        "They can't be asked: its spans are no longer in the log.")),
    story.shadow?.length ? h("section.panel", null,
      h("header", null, h("h2", null, "What shadow policies would say")), answers(story.shadow, 0),
      story.shadow_changing?.length ? h("p.slow-text", null, "The verdict would be the other one with ",
        h("bdi", null, cut(shown(story.shadow_changing.join(", ")), 500))) : null) : null,
    story.spans?.length ? h("section.panel", null, h("header", null, h("h2", null, "Spans")),
      spanTree(story.spans)) : null);
}

function eventLine(event) {
  const where = typeof event.partition === "number" ? `partition ${event.partition} offset ${event.offset}`
    : event.offset !== undefined && event.offset !== null ? `record ${event.offset}` : "";
  return h("li", null, h("span.faint", null, shown(event.time ?? "").replace("T",
    " ").replace(/(\.\d{6})\d*Z$/, "$1 UTC")), h("span.faint", null, where),
    h("bdi", null, cut(shown(event.text), 2000)));
}

/** A policy's answer and those of its parts; they nest a few levels at most. */
function answers(list, depth) {
  const signs = { matches: ["yes", "span.mark.note"], does_not_match: ["no", "span.mark"],
    depends: ["depends", "span.mark.slow"] };
  return h("ul.answers", null, list.slice(0, 300).map((one) => {
    const [text, kind] = signs[one.answer] ?? [cut(shown(one.answer), 40), "span.mark"];
    return h("li", null, h(kind, null, text), " ", h("b", null, h("bdi", null, cut(shown(one.name), 200))),
      one.type && one.type !== one.name ? h("span.faint", null, ` ${cut(shown(one.type), 60)}`) : null,
      h("div.soft", null, one.wanted && h("bdi", null, `wants ${cut(shown(one.wanted), 1000)}`),
        one.wanted && one.seen ? " · " : null,
        one.seen && h("bdi", null, `saw ${cut(shown(one.seen), 1000)}`)),
      one.parts?.length && depth < 20 ? answers(one.parts, depth + 1) : null);
  }));
}

/** The spans as a tree; the same guards as in a waterfall, without its times. */
function spanTree(spans) {
  const byID = new Map(spans.map((span) => [span.span_id, span]));
  const below = new Map();
  const roots = [];
  for (const span of spans) {
    if (span.parent_id && span.parent_id !== span.span_id && byID.has(span.parent_id)) {
      if (!below.has(span.parent_id)) below.set(span.parent_id, []);
      below.get(span.parent_id).push(span);
    } else roots.push(span);
  }
  const seen = new Set();
  const lines = [];
  // Those in a circle are no one's descendants: they come last.
  for (const start of [...roots, ...spans]) {
    const stack = [[start, 0]];
    while (stack.length && lines.length < SPANS_MAX) {
      const [span, depth] = stack.pop();
      if (seen.has(span)) continue;
      seen.add(span);
      lines.push(h("li", { style: { "padding-left": `${Math.min(depth, 24)}rem` } },
        service(span.service, colour(span.service)), name(span.name, "bdi.name.soft"),
        h("span.faint.nowrap", { title: "after the first span's start" },
          typeof span.after_ns === "number" ? `+${duration(span.after_ns)}` : ""),
        h("span.faint.nowrap", null, duration(span.duration_ns)),
          span.is_error && h("span.mark.error", null,
          span.is_error_origin ? "the error began here" : "error")));
      for (const child of (below.get(span.span_id) ?? []).toReversed()) stack.push([child, depth + 1]);
    }
  }
  return [h("ul.story", null, lines), spans.length > lines.length
    && h("p.faint", null, `${exact(spans.length - lines.length)} more`)];
}
