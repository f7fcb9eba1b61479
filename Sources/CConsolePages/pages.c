// Embeds the files in `pages`. Each is named twice below; a test compares the list with the folder.

#include "console_pages.h"

// A C23 feature that clang has in all modes.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char api_js[] = {
#embed "pages/api.js"
};

static const unsigned char app_css[] = {
#embed "pages/app.css"
};

static const unsigned char app_js[] = {
#embed "pages/app.js"
};

static const unsigned char chart_js[] = {
#embed "pages/chart.js"
};

static const unsigned char dom_js[] = {
#embed "pages/dom.js"
};

static const unsigned char early_js[] = {
#embed "pages/early.js"
};

static const unsigned char explain_js[] = {
#embed "pages/explain.js"
};

static const unsigned char format_js[] = {
#embed "pages/format.js"
};

static const unsigned char icon_svg[] = {
#embed "pages/icon.svg"
};

static const unsigned char index_html[] = {
#embed "pages/index.html"
};

static const unsigned char latency_js[] = {
#embed "pages/latency.js"
};

static const unsigned char layout_js[] = {
#embed "pages/layout.js"
};

static const unsigned char map_js[] = {
#embed "pages/map.js"
};

static const unsigned char marks_js[] = {
#embed "pages/marks.js"
};

static const unsigned char overview_js[] = {
#embed "pages/overview.js"
};

static const unsigned char query_js[] = {
#embed "pages/query.js"
};

static const unsigned char spandetail_js[] = {
#embed "pages/spandetail.js"
};

static const unsigned char trace_js[] = {
#embed "pages/trace.js"
};

static const unsigned char tracemodel_js[] = {
#embed "pages/tracemodel.js"
};

static const unsigned char traces_js[] = {
#embed "pages/traces.js"
};

static const unsigned char waterfall_js[] = {
#embed "pages/waterfall.js"
};

#define PAGE(name, bytes) { name, bytes, sizeof(bytes) }

static const struct tailrace_page tailrace_pages[] = {
  PAGE("api.js", api_js),
  PAGE("app.css", app_css),
  PAGE("app.js", app_js),
  PAGE("chart.js", chart_js),
  PAGE("dom.js", dom_js),
  PAGE("early.js", early_js),
  PAGE("explain.js", explain_js),
  PAGE("format.js", format_js),
  PAGE("icon.svg", icon_svg),
  PAGE("index.html", index_html),
  PAGE("latency.js", latency_js),
  PAGE("layout.js", layout_js),
  PAGE("map.js", map_js),
  PAGE("marks.js", marks_js),
  PAGE("overview.js", overview_js),
  PAGE("query.js", query_js),
  PAGE("spandetail.js", spandetail_js),
  PAGE("trace.js", trace_js),
  PAGE("tracemodel.js", tracemodel_js),
  PAGE("traces.js", traces_js),
  PAGE("waterfall.js", waterfall_js),
};

const size_t tailrace_pages_count = sizeof(tailrace_pages) / sizeof(tailrace_pages[0]);

const struct tailrace_page *tailrace_page_at(size_t number) { return &tailrace_pages[number]; }
