"""The pages on real traces: `RECORDINGS=FOLDER`, with recordings NAME.otlp.zst in it."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from recordings import documents, row

FOLDER = Path(os.environ.get("RECORDINGS", "no-recordings"))
PATHS = sorted(FOLDER.glob("*.otlp.zst"))
TRACES = 1500


@pytest.mark.skipif(
    not PATHS, reason=f"no recordings in {FOLDER}: real traces are NOT tested; set RECORDINGS"
)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name.split(".")[0])
def test_real_traces(pages, mock, path):
    found = documents(path, TRACES)
    rows = [row(document) for document in found.values()]
    server = mock(documents=found, rows=rows)
    page = pages.open(f"{server.url}/#/traces?limit={TRACES}")
    expect(page.locator("table.traces tbody tr")).to_have_count(len(rows))
    for route, what in (("overview", ".tiles"), ("latency", "canvas.histogram"), ("map", ".node")):
        page.goto(f"{server.url}/#/{route}")
        expect(page.locator(what).first).to_be_visible()
    # The largest traces, and those with the most failed spans.
    shown = {
        one["trace_id"]: one
        for key in ("spans", "errors")
        for one in sorted(rows, key=lambda one: -one[key])[:10]
    }
    for trace, one in shown.items():
        page.goto(f"{server.url}/#/trace/{trace}")
        expect(page.locator("h1 .name").first).to_have_text(one["service"])
        expect(page.locator(".facts")).to_contain_text(f"{one['spans']:,} spans")
        page.keyboard.press("e")
        if one["errors"]:
            expect(page.locator("aside.detail")).to_contain_text("the error began here")
            assert page.locator(".detail .mark.error").count() == 1
        result = page.evaluate(
            f"""async () => {{
              const m = await import('/ui/tracemodel.js');
              const model = m.traceModel(await (await fetch('/v1/traces/{trace}')).json());
              const path = model.spans.reduce((sum, span) => sum + span.onPath, 0);
              const rows = m.visibleRows(model, new Set()).length - model.ghosts.length;
              return [rows, path, model.root.duration];
            }}"""
        )
        assert result[0] == one["spans"], "each span has a row"
        assert result[1] == pytest.approx(result[2]), "the critical path is as long as the root"
