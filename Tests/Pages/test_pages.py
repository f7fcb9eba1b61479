"""What the pages show, and what happens when one acts on them. `generic`: with any console."""

import re
import time

import pytest
from playwright.sync_api import Page, expect

from mock import HOSTILE, INLINE_HASH, PAGES, MockServer

generic = pytest.mark.generic
# Before the first paint.
FIRST = ("/ui/app.css", "/ui/early.js", "/ui/icon.svg")
ROUTES = {
    "overview": ".tiles",
    "traces": "table.traces tbody tr",
    "map": ".node",
    "latency": "canvas.histogram",
}


def first_trace(page: Page, console: str) -> str:
    page.goto(f"{console}/#/traces?from=-720h")
    href = page.locator("table.traces tbody tr a").first.get_attribute("href")
    return href.rsplit("/", 1)[1]


def wait_until(page: Page, expression: str) -> None:
    """Like `wait_for_function`, which the content security policy forbids: it evaluates text in the page."""
    deadline = time.monotonic() + 15
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(50)


def search_with(page: Page, server: MockServer, *parts: str) -> str:
    """Waits until the server has been asked for traces with all these parameters."""
    deadline = time.monotonic() + 10
    while True:
        found = [path for path in server.requests if path.startswith("/v1/traces?")]
        if matching := [path for path in found if all(re.search(part, path) for part in parts)]:
            return matching[-1]
        assert time.monotonic() < deadline, found
        page.wait_for_timeout(50)


# Any console.


@generic
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("route", ROUTES)
def test_a_page_shows_its_content(pages, console, route, theme):
    page = pages.open(f"{console}/#/{route}?from=-720h", theme=theme)
    expect(page.locator(ROUTES[route]).first).to_be_visible()
    expect(page.locator("nav a[aria-current=page]")).to_have_text(route, ignore_case=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"


@generic
def test_a_trace_opens_from_the_list(pages, console):
    page = pages.open(f"{console}/#/traces?from=-720h")
    page.locator("table.traces tbody tr").first.click()
    expect(page.locator(".row").first).to_be_visible()
    expect(page.locator(".why")).to_contain_text("Kept by")
    page.locator(".row .lane").first.click()
    expect(page.locator("aside.detail")).to_contain_text("starts")
    page.keyboard.press("Escape")
    expect(page.locator("aside.detail")).to_be_hidden()


@generic
def test_the_pages_work_by_keyboard(pages, console):
    page = pages.open(f"{console}/")
    expect(page.locator(".tiles")).to_be_visible()
    for key, route in (("t", "traces"), ("m", "map"), ("l", "latency"), ("o", "overview")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_url(f"**#/{route}")
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("#search-text")).to_be_focused()
    page.keyboard.press("Escape")
    page.goto(f"{console}/#/traces?from=-720h")
    expect(page.locator("table.traces tbody tr").nth(1)).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("k")
    expect(page.locator("table.traces tbody tr").first).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**#/trace/*")


@generic
def test_the_search_takes_an_id(pages, console):
    page = pages.open(f"{console}/")
    trace = first_trace(page, console)
    page.fill("#search-text", trace)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**#/trace/{trace}*")
    expect(page.locator(".row").first).to_be_visible()


@generic
def test_the_map_shows_a_services_neighbours(pages, console):
    page = pages.open(f"{console}/#/map?from=-720h")
    expect(page.locator(".node").first).to_be_visible()
    every = page.locator(".node").count()
    page.locator(".map-side tbody tr").first.click()
    expect(page.locator(".map-side")).to_contain_text("Called by")
    assert 1 <= page.locator(".node").count() <= every
    page.keyboard.press("Escape")
    expect(page.locator(".node")).to_have_count(every)


@generic
def test_the_theme_changes_and_stays(pages, console):
    page = pages.open(f"{console}/", theme="light")
    expect(page.locator(".tiles")).to_be_visible()
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


@generic
def test_a_wrong_id_is_said(pages, console):
    page = pages.open(f"{console}/#/trace/xyz")
    expect(page.locator(".state")).to_contain_text("no trace id")
    page.goto(f"{console}/#/trace/{'0' * 31}1")
    expect(page.locator(".state")).to_contain_text("It isn't in the index")
    expect(page.get_by_role("link", name="Explain it")).to_have_attribute("href", f"#/explain/{'0' * 31}1")


# With made data.


def test_the_overview_is_live(pages, mock):
    page = pages.open(f"{mock(traces=100).url}/#/overview")
    expect(page.locator(".live-list a").first).to_be_visible()
    expect(page.locator("main")).to_contain_text("kept in the last second")
    before = page.locator(".live-list a").count()
    wait_until(page, f"document.querySelectorAll('.live-list a').length > {before}")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("main")).to_contain_text("paused")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".faint", has_text="live")).to_be_visible()
    page.get_by_role("button", name="bytes", exact=True).click()
    expect(page.locator(".chart").first).to_contain_text("KiB")


def test_filters_and_search_ask_the_server(pages, mock):
    server = mock(traces=400)
    page = pages.open(f"{server.url}/#/traces")
    expect(page.locator("table.traces tbody tr")).to_have_count(200)
    page.get_by_role("button", name="Show up to").click()
    expect(page.locator("table.traces tbody tr")).to_have_count(400)
    page.fill("[name=min_duration]", "1.5s")
    page.fill("[name=tag]", 'a=b c="d e"')
    page.keyboard.press("Enter")
    expect(page.locator("table.traces .mark.slow").first).to_be_visible()
    search_with(page, server, "min_duration=1500ms", r"tag=a%3Db&tag=c%3Dd\+e")
    page.fill("#search-text", "checkout error >10ms")
    page.keyboard.press("Enter")
    page.wait_for_url("**service=checkout*")
    expect(page.locator("table.traces tbody tr").first).to_contain_text("error")
    search_with(page, server, "service=checkout", "error=1", "min_duration=10ms")
    page.go_back()
    expect(page.locator("[name=min_duration]")).to_have_value("1.5s")


def test_a_rectangle_in_the_scatter_searches_within_it(pages, mock):
    server = mock(traces=300)
    page = pages.open(f"{server.url}/#/traces")
    expect(page.locator("canvas.scatter")).to_be_visible()
    wait_until(page, "document.querySelector('canvas.scatter').range")
    box = page.locator("canvas.scatter").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 600, box["y"] + 150)
    page.mouse.up()
    page.wait_for_url("**to=*")
    search_with(page, server, r"from=\d{19}&to=\d{19}", "min_duration=", "max_duration=")


def test_a_trace_of_5000_spans_has_few_elements_and_scrolls(pages, mock):
    server = mock(traces=5)
    page = pages.open(f"{server.url}/#/trace/{server.world.rows[1]['trace_id']}")
    expect(page.locator(".row").first).to_be_visible()
    expect(page.locator(".facts")).to_contain_text("5,00")
    assert page.locator(".row").count() < 100
    page.keyboard.press("End")
    expect(page.locator(".row.selected")).to_be_in_viewport()
    assert page.locator(".row").count() < 100
    page.get_by_role("button", name="Collapse").first.click()
    page.get_by_role("button", name="Expand").first.click()
    page.locator(".tools input").fill("warehouse")
    expect(page.locator(".tools [role=status]")).to_contain_text("match")
    page.keyboard.press("Enter")
    expect(page.locator("aside.detail")).to_contain_text("warehouse")


def test_where_the_error_began(pages, mock):
    server = mock(traces=5)
    page = pages.open(f"{server.url}/#/trace/{server.world.rows[0]['trace_id']}")
    expect(page.locator(".row").first).to_be_visible()
    page.keyboard.press("e")
    detail = page.locator("aside.detail")
    expect(detail).to_contain_text("the error began here")
    expect(detail).to_contain_text("deadline exceeded")
    expect(detail).to_contain_text("no answer from the ledger")
    expect(detail.locator("a.mono").first).to_have_attribute(
        "href", re.compile(r"^#/trace/[0-9a-f]{32}\?span=")
    )
    page.keyboard.press("c")
    expect(page.get_by_role("button", name="Critical path")).to_have_attribute("aria-pressed", "false")


def test_a_short_span_at_the_end_of_a_long_trace_is_seen(pages, mock):
    server = mock(traces=5)
    trace_id = server.world.rows[0]["trace_id"]
    page = pages.open(server.url)

    def put_job(route):
        """A root, and a job of 8 ms that fails 40 s later."""
        answer = route.fetch()
        trace = answer.json()
        root = next(span for span in trace["spans"] if span["parent_span_id"] is None)
        start = int(root["start_ns"]) + 40 * 10**9
        own = {"span_id": "00000000000000ff", "parent_span_id": root["span_id"], "operation": "job"}
        times = {"start_ns": str(start), "duration_ns": 8 * 10**6, "status": "error"}
        trace["spans"] = [root, {**root, **own, **times}]
        route.fulfill(response=answer, json=trace)

    page.route(f"**/v1/traces/{trace_id}", put_job)
    page.goto(f"{server.url}/#/trace/{trace_id}")
    lane = page.locator(".row", has_text="job").locator(".lane")
    expect(lane).to_be_visible()
    (outer, bar) = (part.bounding_box() for part in (lane, lane.locator(".span-bar")))
    assert outer["x"] <= bar["x"] and bar["x"] + bar["width"] <= outer["x"] + outer["width"]


def test_clocks_are_corrected_on_demand(pages, mock):
    server = mock(traces=5)
    page = pages.open(f"{server.url}/#/trace/{server.world.rows[1]['trace_id']}")
    expect(page.locator(".skewed")).to_contain_text("outside the caller's span")
    page.get_by_role("button", name="Correct the clocks").click()
    expect(page.get_by_role("button", name="Show as recorded")).to_be_visible()


@pytest.mark.parametrize("route", ["overview", "traces", "map", "latency", "trace", "explain"])
def test_hostile_names_are_text(pages, mock, route):
    server = mock(traces=60, hostile=True)
    trace = server.world.rows[0]["trace_id"]
    page = pages.open(f"{server.url}/#/{route}{f'/{trace}' if route in ('trace', 'explain') else ''}")
    expect(page.locator("main")).to_contain_text("<script>window.hacked = 1</script>")
    if route == "trace":
        page.locator(".row .lane").first.click()
        expect(page.locator("aside.detail dd").filter(has_text="xxxxxxxx").last).to_have_text(HOSTILE[6])
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    assert page.locator("main script, main img").count() == 0
    text = page.locator("main").inner_text()
    assert "\u202e" not in text, "it could make a name look like another"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    # No link but the pages' own and their documents.
    links = page.evaluate("[...document.querySelectorAll('main a')].map((a) => a.href)")
    assert all(link.startswith(server.url + "/") for link in links)


def test_hostile_names_in_the_address(pages, mock):
    server = mock(traces=20)
    page = pages.open(f"{server.url}/#/traces?service=%3Cscript%3Ewindow.hacked=1%3C/script%3E&from=%FF")
    expect(page.locator(".state")).to_contain_text("No kept trace matches")
    expect(page.locator("[name=service]")).to_have_value("<script>window.hacked=1</script>")
    page.goto(f"{server.url}/#/trace/..%2f..%2fx")
    expect(page.locator(".state")).to_contain_text("no trace id")
    page.goto(f"{server.url}/#/constructor/x?y")
    expect(page.locator(".tiles")).to_be_visible()
    assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize("route", ROUTES)
def test_nothing_kept_and_still_reading(pages, mock, route):
    page = pages.open(f"{mock(traces=0, progress=0.42).url}/#/{route}")
    expect(page.locator("#banner")).to_contain_text("still reading (42 %)")
    expect(page.locator("main .state").first).to_be_visible()


@pytest.mark.parametrize("route", [*ROUTES, f"trace/{'a' * 32}", f"explain/{'a' * 32}"])
def test_an_error_is_told_and_can_be_retried(pages, mock, route):
    server = mock(traces=20, failing=True)
    server.world.scenario.documents["a" * 32] = server.world.trace(server.world.rows[0]["trace_id"])
    page = pages.open(f"{server.url}/#/{route}")
    expect(page.locator("[role=alert]")).to_contain_text("the broker <b>can't</b> be reached")
    expect(page.locator("#status")).to_contain_text("failing")
    server.world.scenario.failing = False
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("[role=alert]")).to_have_count(0)
    expect(page.locator(".panel").first).to_be_visible()


@pytest.mark.parametrize("route", [*ROUTES, f"trace/{'a' * 32}", f"explain/{'a' * 32}"])
def test_a_page_says_that_it_waits(pages, mock, route):
    server = mock(traces=20, slow=1.0)
    server.world.scenario.documents["a" * 32] = server.world.trace(server.world.rows[0]["trace_id"])
    page = pages.open(f"{server.url}/#/{route}")
    expect(page.locator("[aria-busy] .pulse")).to_be_visible()
    expect(page.locator("[aria-busy]")).to_have_count(0)
    expect(page.locator(".panel").first).to_be_visible()


def test_leaving_a_slow_page_shows_the_next_one_only(pages, mock):
    server = mock(traces=20, slow=0.5)
    page = pages.open(f"{server.url}/#/traces")
    expect(page.locator("form.filters")).to_be_visible()
    page.goto(f"{server.url}/#/explain")
    page.wait_for_timeout(1500)
    expect(page.locator("table.traces")).to_have_count(0)
    expect(page.locator("main h1")).to_have_text("Explain")


def test_a_map_of_500_services(pages, mock):
    page = pages.open(f"{mock(services=500).url}/#/map")
    expect(page.locator(".node")).to_have_count(500)
    print(f"laid out and drawn in {page.locator('.map-view svg').get_attribute('data-milliseconds')} ms")
    box = page.locator(".map-view svg").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 300)
    before = page.locator(".map-view g").first.get_attribute("transform")
    page.mouse.wheel(0, -400)
    wait_until(page, f"document.querySelector('.map-view svg > g').getAttribute('transform') !== '{before}'")
    page.keyboard.press("/")
    page.keyboard.type("service-123")
    page.keyboard.press("Enter")
    expect(page.locator(".node.selected")).to_contain_text("service-123")
    assert page.locator(".node").count() < 60


def test_latency_leads_to_traces(pages, mock):
    server = mock(traces=300)
    page = pages.open(f"{server.url}/#/latency")
    expect(page.locator("canvas.histogram")).to_be_visible()
    page.locator(".choices ul ul button").first.click()
    page.wait_for_url("**operation=*")
    expect(page.locator("canvas.histogram")).to_be_visible()
    expect(page.locator(".facts")).to_contain_text("p99")
    page.locator("table a.mono").first.click()
    page.wait_for_url("**#/trace/*")


def test_explain(pages, mock):
    server = mock(traces=5)
    page = pages.open(f"{server.url}/#/explain")
    page.fill("[name=id]", server.world.rows[0]["trace_id"])
    page.keyboard.press("Enter")
    expect(page.locator(".verdict")).to_contain_text("Kept by")
    expect(page.locator(".panel > .answers > li")).to_have_count(3)
    expect(page.locator(".answers .answers")).to_contain_text("a root of 250 ms")
    expect(page.locator("ul.story > li").first).to_contain_text("+0 ns")
    page.get_by_role("link", name="its waterfall").click()
    expect(page.locator(".row").first).to_be_visible()


def test_the_first_content_with_100000_traces(pages, mock):
    """Tells the times, and asserts none: they are the machine's."""
    server = mock(traces=100_000)
    for route in ("traces", "overview"):
        page = pages.open(f"{server.url}/#/{route}")
        expect(page.locator(ROUTES[route]).first).to_be_visible()
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
        print(f"{route}: first content after {paint:.0f} ms")


@pytest.mark.parametrize("route", ["traces", "overview", "map"])
def test_data_are_asked_for_before_the_modules(pages, mock, route):
    """A page's data are on their way while its modules are loaded, and are asked for once."""
    server = mock(traces=300)
    page = pages.open(f"{server.url}/#/{route}")
    expect(page.locator(ROUTES[route]).first).to_be_visible()
    expect(page.locator("#controls")).to_have_css("display", "contents")
    starts = page.evaluate("""Object.fromEntries(performance.getEntriesByType('resource').map((one) =>
      [new URL(one.name).pathname, one.startTime]))""")
    for path in (f"/v1/{route}", "/v1/services"):
        # At once, by a clock that is coarse.
        assert starts[path] <= min(starts[one] for one in starts if one.startswith("/ui/") and one not in FIRST)
        assert len([one for one in server.requests if one.split("?")[0] == path]) == 1
    # What comes later is asked for anew.
    page.evaluate("location.hash = '#/explain'")
    expect(page.locator("main.explain form")).to_be_visible()
    page.evaluate(f"location.hash = '#/{route}'")
    expect(page.locator(ROUTES[route]).first).to_be_visible()
    assert len([one for one in server.requests if one.split("?")[0] == f"/v1/{route}"]) == 2


def test_all_rows_follow_the_first_ones(pages, mock):
    page = pages.open(f"{mock(traces=300).url}/#/traces")
    expect(page.locator("table.traces tbody tr")).to_have_count(200)
    page.locator("table.traces tbody tr").first.focus()
    page.keyboard.press("End")
    expect(page.locator("table.traces tbody tr").last).to_be_focused()


def test_a_trace_that_outlasts_its_root_says_so(pages, mock):
    server = mock(traces=40)
    page = pages.open(f"{server.url}/#/traces")
    rows = page.locator("table.traces tbody tr")
    expect(rows).to_have_count(40)
    expect(rows.filter(has_text="in all")).to_have_count(2)
    page.get_by_label("Order").select_option(label="longest in all")
    search_with(page, server, "sort=longest_whole")
    expect(page.locator("section.panel header")).to_contain_text("40 kept traces")
    expect(rows.first).to_contain_text("in all")
    page.get_by_label("Order").select_option(label="longest root")
    search_with(page, server, "sort=longest$|sort=longest&")
    expect(page.get_by_label("Root at least")).to_be_visible()


def test_links_are_drawn_where_there_is_no_call(pages, mock):
    page = pages.open(f"{mock(traces=300).url}/#/map")
    expect(page.locator("path.edge-line").first).to_be_attached()
    expect(page.locator("path.edge-line.link")).to_have_count(1)
    expect(page.locator(".map .head")).to_contain_text("Dotted")


# What is sent.


def test_the_modules_that_are_asked_for_early_are_those_of_the_pages():
    early = (PAGES / "early.js").read_text()
    shared, own = re.search(r"shared = (\[.*?\]);\s*const own = \{(.*?)\};", early, re.DOTALL).groups()
    named = {page: re.findall(r'"(\w+)"', names) for page, names in re.findall(r"(\w+): (\[.*?\])", own, re.DOTALL)}
    begin = set(re.findall(r'"(\w+)"', shared))

    def modules(name: str, found: set[str]) -> set[str]:
        found.add(name)
        for other in re.findall(r'^(?:import\s[^;]*?|\s*)from "\./(\w+)\.js"', (PAGES / f"{name}.js").read_text(), re.MULTILINE):
            if other not in found:
                modules(other, found)
        return found

    assert modules("app", set()) == begin
    assert set(named) == set(re.findall(r"import\(\"\./(\w+)\.js\"\)", (PAGES / "app.js").read_text()))
    for page, names in named.items():
        assert modules(page, set()) - begin == set(names), page


def test_no_page_has_inline_style_or_script_but_the_one_that_the_console_allows():
    html = (PAGES / "index.html").read_text()
    assert len(re.findall(r"<script(?![^>]*\bsrc=)", html)) == 1
    console = (PAGES.parents[1] / "Console" / "ConsoleResponse.swift").read_text()
    assert f"script-src 'self' '{INLINE_HASH}';" in console
    assert not re.search(r"\s(style|on\w+)=", html)
    for file in PAGES.glob("*.js"):
        text = file.read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
        ), file
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), file


def test_the_pages_are_small():
    assert sum(file.stat().st_size for file in PAGES.iterdir()) < 180_000
