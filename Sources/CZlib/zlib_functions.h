// gzip by zlib's library, which is found when it is first needed.
//
// librdkafka depends on the library, so it is wherever Tailrace runs; its header is not. The declarations follow the
// manual <https://zlib.net/manual.html>: the interface of version 1 does not change, and `libz.so.1` is the name
// that promises it.

#pragma once

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/// `z_stream`.
typedef struct {
  const unsigned char *_Nullable next_in;
  unsigned int avail_in;
  unsigned long total_in;
  unsigned char *_Nullable next_out;
  unsigned int avail_out;
  unsigned long total_out;
  const char *_Nullable msg;
  void *_Nullable state;
  void *_Nullable zalloc;
  void *_Nullable zfree;
  void *_Nullable opaque;
  int data_type;
  unsigned long adler;
  unsigned long reserved;
} tailrace_zlib_stream;

/// What a step has come to: zlib's own codes, and one for a library that is not there.
enum { tailrace_zlib_ok = 0, tailrace_zlib_end = 1, tailrace_zlib_missing = -100 };

/// zlib's function `name`; null if it is not there. The library stays loaded.
static inline void *_Nullable tailrace_zlib_function(const char *_Nonnull name) {
  void *library = dlopen("libz.so.1", RTLD_NOW | RTLD_LOCAL);
  return library == NULL ? NULL : dlsym(library, name);
}

/// The largest window, 15 bits; 16 more ask for gzip's header and trailer.
enum { tailrace_zlib_window = 15 + 16, tailrace_zlib_deflated = 8, tailrace_zlib_memory = 8 };

/// Begins decompression of gzip.
static inline int tailrace_inflate_begin(tailrace_zlib_stream *_Nonnull stream) {
  int (*begin)(tailrace_zlib_stream *, int, const char *, int) =
      (int (*)(tailrace_zlib_stream *, int, const char *, int))tailrace_zlib_function("inflateInit2_");
  memset(stream, 0, sizeof *stream);
  if (begin == NULL) return tailrace_zlib_missing;
  return begin(stream, tailrace_zlib_window, "1.2.11", (int)sizeof *stream);
}

/// Begins compression into gzip.
static inline int tailrace_deflate_begin(tailrace_zlib_stream *_Nonnull stream, int level) {
  typedef int (*begin_type)(tailrace_zlib_stream *, int, int, int, int, int, const char *, int);
  begin_type begin = (begin_type)tailrace_zlib_function("deflateInit2_");
  memset(stream, 0, sizeof *stream);
  if (begin == NULL) return tailrace_zlib_missing;
  return begin(
      stream, level, tailrace_zlib_deflated, tailrace_zlib_window, tailrace_zlib_memory, 0, "1.2.11",
      (int)sizeof *stream);
}

/// Calls `inflate` or `deflate`, with the given flush, or `inflateReset`, `inflateEnd` or `deflateEnd`.
static inline int tailrace_zlib_step(tailrace_zlib_stream *_Nonnull stream, const char *_Nonnull name, int flush) {
  int (*step)(tailrace_zlib_stream *, int) = (int (*)(tailrace_zlib_stream *, int))tailrace_zlib_function(name);
  return step == NULL ? tailrace_zlib_missing : step(stream, flush);
}

static inline int tailrace_zlib_call(tailrace_zlib_stream *_Nonnull stream, const char *_Nonnull name) {
  int (*call)(tailrace_zlib_stream *) = (int (*)(tailrace_zlib_stream *))tailrace_zlib_function(name);
  return call == NULL ? tailrace_zlib_missing : call(stream);
}
