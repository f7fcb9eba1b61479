// Embeds the files in `pages`. Each is named twice below; a test compares the list with the folder.

#include "console_pages.h"

// A C23 feature that clang has in all modes.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char index_html[] = {
#embed "pages/index.html"
};

#define PAGE(name, bytes) { name, bytes, sizeof(bytes) }

static const struct tailrace_page tailrace_pages[] = {
  PAGE("index.html", index_html),
};

const size_t tailrace_pages_count = sizeof(tailrace_pages) / sizeof(tailrace_pages[0]);

const struct tailrace_page *tailrace_page_at(size_t number) { return &tailrace_pages[number]; }
