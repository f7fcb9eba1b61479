// The console's static files, in the program itself.

#ifndef TAILRACE_CONSOLE_PAGES_H
#define TAILRACE_CONSOLE_PAGES_H

#include <stddef.h>

/// A static file.
struct tailrace_page {
  /// Its name in `pages`.
  const char *name;
  /// Its bytes.
  const unsigned char *bytes;
  size_t length;
};

/// How many files there are.
extern const size_t tailrace_pages_count;
/// One of them, from 0 on.
const struct tailrace_page *tailrace_page_at(size_t number);

#endif
