"""The pages' computations, in the browser: trees, critical paths, error origins, clocks, layouts."""

import pytest

MODEL = "const m = await import('/ui/tracemodel.js');"
SPAN = """
const span = (id, parent, start, end, more) =>
  ({ span_id: id, parent_span_id: parent, service: 's', operation: id,
  kind: 'internal', start_ns: String(1700000000000000000n + BigInt(start)), duration_ns: end - start,
    status: 'unset',
  resource: 0, events: [], links: [], attributes: [], ...more });
"""


@pytest.fixture
def run(pages, mock):
    page = pages.open(f"{mock(traces=1).url}/#/explain")
    return lambda body: page.evaluate(f"async () => {{ {MODEL} {SPAN} {body} }}")


def path(spans: str) -> str:
    return f"""const model = m.traceModel({{ spans: [{spans}] }});
      return Object.fromEntries(model.spans.filter((one) => one.onPath).map((one) => [one.id,
        one.path.toSorted((a, b) => a[0] - b[0])]));"""


def test_the_critical_path_leads_back_from_the_end(run):
    # a ends within b, so it is not waited for. d outlives its parent, which is no end of the trace: it is cut.
    spans = """span('r', null, 0, 100), span('a', 'r', 10, 40), span('b', 'r', 30, 80),
      span('c', 'b', 60, 75), span('d', 'c', 70, 90)"""
    assert run(path(spans)) == {"r": [[0, 30], [80, 100]], "b": [[30, 60], [75, 80]], "c": [[60, 70]], "d": [[70, 75]]}


def test_the_critical_path_leads_to_the_end_of_the_trace(run):
    # c ends after the root: nobody waited for it, but the trace lasts as long as it does. d ended before.
    spans = """span('r', null, 0, 100), span('a', 'r', 10, 40), span('b', 'r', 30, 80),
      span('c', 'r', 85, 120), span('d', 'r', 105, 110)"""
    assert run(path(spans)) == {"r": [[0, 30], [80, 85]], "b": [[30, 80]], "c": [[85, 120]]}


def test_the_critical_path_goes_through_a_queue(run):
    # r calls a, which sends p, and answers; the consumer takes p's message 900 later, and calls d. What r did
    # meanwhile did not delay the end. e is another consumer, done before.
    spans = """span('r', null, 0, 200), span('a', 'r', 10, 60), span('x', 'r', 60, 190),
      span('p', 'a', 30, 50, { kind: 'producer' }), span('c', 'p', 950, 1000, { kind: 'consumer' }),
      span('d', 'c', 960, 990), span('e', 'p', 500, 600)"""
    assert run(path(spans)) == {
        "r": [[0, 10]],
        "a": [[10, 30]],
        "p": [[30, 50]],
        "c": [[950, 960], [990, 1000]],
        "d": [[960, 990]],
    }
    assert run(f"""const model = m.traceModel({{ spans: [{spans}] }});
      return [model.pathDuration, model.pathWaits];""") == [1000, 900]


def test_the_critical_path_is_found_anew_when_clocks_are_corrected(run):
    # The spans' parent is missing: the one that stands for it is on the path, too.
    spans = """span('a', 'x', 0, 10), span('p', 'x', 50, 100, { kind: 'producer' }),
      span('c', 'p', 950, 1000, { kind: 'consumer' })"""
    first, *later = run(f"""const model = m.traceModel({{ spans: [{spans}] }});
      return [model.pathWaits, ...[true, false].map((one) => {{ m.place(model, one); return model.pathWaits; }})];""")
    assert first > 0 and later == [first, first]


def test_what_was_asked_for_early_and_came_too_late_is_told_so(run):
    assert run("""const api = await import('/ui/api.js');
      const late = Promise.reject(new DOMException('x', 'TimeoutError'));
      late.catch(() => null);
      globalThis.early = new Map([[api.address('v1/status').href, late]]);
      return api.get('v1/status').catch((error) => error.message);""") == "No answer within 30 s."


def test_the_critical_path_bears_clocks_that_differ(run):
    # The last span's parent starts after it, by its host's clock.
    spans = "span('r', null, 100, 200), span('a', 'r', 250, 260), span('b', 'a', 50, 300)"
    assert run(path(spans)) == {"b": [[0, 250]]}


def test_the_critical_path_goes_down_and_covers_the_root(run):
    spans = """span('r', null, 0, 100), span('a', 'r', 10, 90), span('b', 'a', 20, 50),
      span('c', 'a', 50, 60), span('d', 'c', 50, 60)"""
    assert run(path(spans)) == {
        "r": [[0, 10], [90, 100]],
        "a": [[10, 20], [60, 90]],
        "b": [[20, 50]],
        "d": [[50, 60]],
    }


def test_the_error_began_with_the_failed_span_without_a_failed_child_that_ended_first(run):
    failed = "{ status: 'error' }"
    spans = f"""span('r', null, 0, 100, {failed}), span('a', 'r', 0, 50, {failed}),
      span('b', 'a', 0, 40, {failed}),
      span('c', 'r', 0, 30), span('d', 'c', 0, 35, {failed}), span('e', 'c', 0, 35, {failed})"""
    assert run(f"return m.traceModel({{ spans: [{spans}] }}).origin.id") == "d"


def test_parents_in_a_circle_missing_or_doubled(run):
    spans = """span('a', 'b', 5, 9), span('b', 'c', 3, 9), span('c', 'a', 4, 9), span('x', 'x', 1, 2),
      span('o', 'gone', 6, 7),
      span('p', 'gone', 7, 8), span('x', null, 2, 3), span('y', 'a', 5, 6)"""
    found = run(f"""const model = m.traceModel({{ spans: [{spans}] }});
      return {{ rows: m.visibleRows(model, new Set()).map((one) => [one.id, one.depth]),
        cut: model.spans.filter((one) => one.isCut).map((one) => one.id),
        double: model.spans.filter((one) => one.isDouble).length,
        ghosts: model.ghosts.map((one) => [one.id, one.start, one.end]) }};""")
    assert found["rows"] == [
        ["x", 0],
        ["x", 0],
        ["b", 0],
        ["a", 1],
        ["c", 2],
        ["y", 2],
        ["gone", 0],
        ["o", 1],
        ["p", 1],
    ]
    assert sorted(found["cut"]) == ["b", "x"]
    assert found["double"] == 1
    assert found["ghosts"] == [["gone", 5, 7]]


def test_circles_and_chains_of_50000_end(run):
    body = """const spans = [];
      for (let at = 0; at < 50000; at++) spans.push(span('c' + at, 'c' + ((at + 1) % 50000), at, at + 2));
      for (let at = 0; at < 50000; at++) spans.push(span('d' + at, at ? 'd' + (at - 1) : null, at,
        100000 - at));
      const model = m.traceModel({ spans });
      return [m.visibleRows(model, new Set()).length, model.spans.filter((one) => one.isCut).length];"""
    assert run(body) == [100_000, 1]


def test_a_clock_is_corrected_so_that_the_child_lies_in_the_middle(run):
    other = "{ resource: 1, kind: 'server' }"
    client = "{ kind: 'client' }"
    spans = f"""span('r', null, 1000, 1100, {client}), span('s', 'r', 500, 560, {other}),
      span('t', 's', 510, 520, {{ resource: 1 }}),
      span('u', 't', 510, 512, {{ resource: 2, kind: 'consumer' }}),
      span('v', 's', 2000, 2100, {{ resource: 2, kind: 'server' }})"""
    found = run(f"""const model = m.traceModel({{ spans: [{spans}] }});
      const before = [model.skewed, model.skewMost, model.spans[1].start];
      m.place(model, true);
      return [before, model.spans.map((one) => one.start + 500)];""")
    # v is longer than s, and starts after it: it stays as it is. u is a message: it may be late.
    assert found == [[1, 520, 0], [1000, 1020, 1030, 510, 2000]]


def test_broken_values_do_not_break_the_model(run):
    body = """const model = m.traceModel({ spans: [{},
        { span_id: 7, start_ns: 'x', duration_ns: -5, kind: 2, status: null },
        { span_id: 'a', start_ns: 1700000000000000000, duration_ns: 'Infinity' }] });
      return [model.spans.length, model.spans.every((one) => Number.isFinite(one.start)
        && Number.isFinite(one.end)),
        m.traceModel({}).spans.length, m.traceModel({ spans: null }).root];"""
    assert run(body) == [3, True, 0, None]


def test_the_layout_puts_callers_left_and_nothing_on_top_of_another(run):
    body = """const { layout } = await import('/ui/layout.js');
      const services = [], calls = [];
      for (let at = 0; at < 500; at++) services.push({ name: 's' + at, calls: at });
      for (let at = 0; at < 480; at++) for (const step of [1, 7, 31]) calls.push({ from: 's' + at,
        to: 's' + Math.min(479, (Math.floor(at / 40) + 1) * 40 + ((at * step) % 40)) });
      calls.push({ from: 's470', to: 's3' }, { from: 's3', to: 's470' }, { from: 's5', to: 's5' },
        { from: 's1', to: 'nobody' });
      const plan = layout(services, calls, 8);
      let overlaps = 0;
      for (const a of plan.nodes) for (const b of plan.nodes) {
        if (a !== b && a.x < b.x + plan.width && b.x < a.x + plan.width
          && Math.abs(a.y - b.y) < plan.height - 0.01) overlaps++;
      }
      const leftward = plan.edges.filter((edge) => !edge.isBack && edge.source.x >= edge.target.x).length;
      return [plan.nodes.length, overlaps, leftward, plan.edges.filter((edge) => edge.isBack).length > 0,
        plan.nodes.every((node) => Number.isFinite(node.x) && Number.isFinite(node.y))];"""
    assert run(body) == [500, 0, 0, True, True]


def test_the_language_of_the_search(run):
    body = """const { parseSearch, parseDuration } = await import('/ui/query.js');
      return [parseSearch('0AF7651916CD43DD8448EB211C80319C').id,
        parseSearch('checkout "GET /x y" error >1.5s <=2min a.b=c "k=v w" reason:slow',
          ['checkout']).parameters,
        ['200ms', '1.5s', '7', '3µs', 'x', '1e9s', ''].map(parseDuration)];"""
    assert run(body) == [
        "0af7651916cd43dd8448eb211c80319c",
        {
            "service": "checkout",
            "operation": "GET /x y",
            "error": "1",
            "min_duration": "1.5s",
            "max_duration": "2min",
            "tag": ["a.b=c", "k=v w"],
            "reason": "slow",
        },
        [200_000_000, 1_500_000_000, 7_000_000, 3_000, None, None, None],
    ]


def test_figures_as_text(run):
    body = """const f = await import('/ui/format.js');
      return [[0, 950, 1234, 999600, 1.5e6, 12.34e9, 119.96e9, 3600e9 * 3, NaN].map(f.duration),
        [0, 3, 9999, 12345, 0.1234, null].map(f.count),
        [0, 0.001, 5.314, 100].map(f.percentage), f.bytes(1536), f.instant('1700000000123456789'),
          f.instant('x'), f.shown('a\\u202eb\\nc'),
        f.cut('x'.repeat(9), 4), f.colour('frontend') === f.colour('frontend')];"""
    assert run(body) == [
        ["0 ns", "950 ns", "1.23 µs", "1 ms", "1.5 ms", "12.3 s", "120 s", "3 h 0 min", "–"],
        ["0", "3", "9,999", "12.3K", "0.123", "–"],
        ["0 %", "< 0.01 %", "5.31 %", "100 %"],
        "1.5 KiB",
        "2023-11-14 22:13:20.123456 UTC",
        "1970-01-01 00:00:00.000000 UTC",
        "a\\u202eb\\u000ac",
        "xxxx…",
        True,
    ]
