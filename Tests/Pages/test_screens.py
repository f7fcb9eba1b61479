"""Pictures of all pages: `SCREENSHOTS=FOLDER`. With `DOCS_IMAGES=1` also the README's, in docs/images."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from mock import MockServer

FOLDER = os.environ.get("SCREENSHOTS")
IMAGES = Path(__file__).parents[2] / "docs" / "images"
READY = {
    "overview": ".live-list a",
    "traces": "canvas.scatter",
    "map": ".node",
    "latency": "canvas.histogram",
    "trace": ".row",
    "explain": ".verdict",
}


def show(page: Page, server: MockServer, route: str) -> None:
    trace = server.world.rows[0]["trace_id"]
    page.goto(f"{server.url}/#/{route}{f'/{trace}' if route in ('trace', 'explain') else ''}")
    expect(page.locator(READY[route]).first).to_be_visible()
    if route == "trace":
        page.keyboard.press("e")
        expect(page.locator("aside.detail")).to_be_visible()
    # Canvases are drawn in the next frame.
    page.wait_for_timeout(300)


@pytest.mark.skipif(not FOLDER, reason="no pictures are wanted: set SCREENSHOTS to a folder")
@pytest.mark.parametrize("width", [1400, 800])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["usual", "hostile"])
def test_pictures(pages, mock, kind, theme, width):
    server = mock(traces=300, hostile=kind == "hostile")
    page = pages.open(server.url, width=width, theme=theme)
    Path(FOLDER).mkdir(parents=True, exist_ok=True)
    for route in READY:
        show(page, server, route)
        page.screenshot(path=f"{FOLDER}/{route}-{kind}-{theme}-{width}.png")


@pytest.mark.skipif(
    not os.environ.get("DOCS_IMAGES"),
    reason="the README's pictures stay: set DOCS_IMAGES=1 to make them anew",
)
@pytest.mark.parametrize(
    ("route", "name", "height"), [("trace", "console-trace", 760), ("overview", "console-overview", 640)]
)
def test_the_pictures_of_the_readme(pages, mock, route, name, height):
    server = mock(traces=900)
    page = pages.open(server.url, width=1280)
    page.set_viewport_size({"width": 1280, "height": height})
    show(page, server, route)
    IMAGES.mkdir(parents=True, exist_ok=True)
    picture = IMAGES / f"{name}.png"
    # 256 colours are enough, and a third of the bytes.
    with Image.open(io.BytesIO(page.screenshot())) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(picture, optimize=True)
    assert picture.stat().st_size < 120_000
