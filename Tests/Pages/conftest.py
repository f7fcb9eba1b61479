"""Chromium without a window, for the tests of the console's pages.

How to run:

    apt-get install chromium          # Debian's; or set CHROMIUM to another one's path
    make python                       # installs requirements.txt into .venv
    .venv/bin/python -B -m pytest Tests/Pages

With CONSOLE_URL=http://127.0.0.1:8090 the tests marked `generic` run against a console that runs there; the
rest, which need the mock's data, are deselected. With RECORDINGS=FOLDER, recordings of real traces
(NAME.otlp.zst) in that folder are shown too; without it these tests are skipped. With SCREENSHOTS=FOLDER, the
pictures that `test_screens.py` makes stay there, for a look; DOCS_IMAGES=1 writes the README's into
docs/images.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from mock import MockServer, Scenario

# A machine that is busy makes no test fail.
expect.set_options(timeout=60_000)

CONSOLE_URL = os.environ.get("CONSOLE_URL", "").rstrip("/")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "generic: works with any console, also a real one")
    if not chromium():
        raise pytest.UsageError(
            "no chromium: install Debian's package `chromium`, or set CHROMIUM to its path"
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not CONSOLE_URL:
        return
    others = [item for item in items if not item.get_closest_marker("generic")]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item.get_closest_marker("generic")]


def chromium() -> str | None:
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        # As root, in a container, Chromium's own sandbox does not start.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=chromium(), args=arguments)
        yield browser
        browser.close()


class Pages:
    """Opens pages, and collects what goes wrong in them."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.problems: list[str] = []
        self.contexts = []

    def open(self, url: str, *, width: int = 1400, theme: str = "light") -> Page:
        context = self.browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("console", self.hear)
        page.on("request", lambda request: self.hear_request(url, request.url))
        page.goto(url)
        return page

    def hear(self, message: object) -> None:
        # The browser reports an answer of 500 or 404 by itself; what the page makes of it is tested.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.problems.append(f"{message.type}: {message.text}")

    def hear_request(self, base: str, url: str) -> None:
        if not url.startswith(("/".join(base.split("/")[:3]), "data:", "blob:")):
            self.problems.append(f"a request to somewhere else: {url}")


@pytest.fixture
def pages(browser: Browser) -> Iterator[Pages]:
    """Fails the test if a page has an error, breaks its content security policy, or asks another address."""
    pages = Pages(browser)
    yield pages
    for context in pages.contexts:
        context.close()
    assert pages.problems == []


@pytest.fixture
def mock() -> Iterator[Callable[..., MockServer]]:
    """Starts servers with made data."""
    with ExitStack() as stack:
        yield lambda **scenario: stack.enter_context(MockServer(Scenario(**scenario)))


@pytest.fixture
def console(mock: Callable[..., MockServer]) -> str:
    """The address of a console with traces: CONSOLE_URL, or the mock."""
    return CONSOLE_URL or mock(traces=300).url
