// What Swift has no words for: a hint that memory will be read soon, and a copy that leaves the caches alone.
//
// Both change how long things take and nothing else.

#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/// Asks for `count` bytes from `start` on to be brought into the cache. They need not be there: a hint never faults.
static inline void tailrace_prefetch(const void *_Nonnull start, size_t count) {
  const char *line = (const char *)((uintptr_t)start & ~(uintptr_t)63);
  const char *end = (const char *)start + count;
  for (; end - line > 192; line += 256) {
    __builtin_prefetch(line, 0, 2);
    __builtin_prefetch(line + 64, 0, 2);
    __builtin_prefetch(line + 128, 0, 2);
    __builtin_prefetch(line + 192, 0, 2);
  }
  for (; line < end; line += 64) __builtin_prefetch(line, 0, 2);
}

typedef uint64_t tailrace_aligned __attribute__((ext_vector_type(4), aligned(32)));
typedef uint64_t tailrace_unaligned __attribute__((ext_vector_type(4), aligned(1)));

/// Copies whole lines, `count` bytes together, to a line's beginning past the caches.
static inline void tailrace_copy_lines(char *_Nonnull target, const char *_Nonnull source, size_t count) {
  for (const char *end = target + count; target < end; target += 64, source += 64) {
    tailrace_aligned low = *(const tailrace_unaligned *)source;
    tailrace_aligned high = *(const tailrace_unaligned *)(source + 32);
    __builtin_nontemporal_store(low, (tailrace_aligned *)target);
    __builtin_nontemporal_store(high, (tailrace_aligned *)(target + 32));
  }
}

#if defined(__x86_64__)
/// The same in half as many steps, for processors that have AVX.
__attribute__((target("avx"))) static inline void tailrace_copy_lines_avx(char *_Nonnull target,
                                                                          const char *_Nonnull source, size_t count) {
  const char *end = target + count;
  for (; end - target >= 128; target += 128, source += 128) {
    tailrace_aligned first = *(const tailrace_unaligned *)source;
    tailrace_aligned second = *(const tailrace_unaligned *)(source + 32);
    tailrace_aligned third = *(const tailrace_unaligned *)(source + 64);
    tailrace_aligned fourth = *(const tailrace_unaligned *)(source + 96);
    __builtin_nontemporal_store(first, (tailrace_aligned *)target);
    __builtin_nontemporal_store(second, (tailrace_aligned *)(target + 32));
    __builtin_nontemporal_store(third, (tailrace_aligned *)(target + 64));
    __builtin_nontemporal_store(fourth, (tailrace_aligned *)(target + 96));
  }
  for (; target < end; target += 64, source += 64) {
    tailrace_aligned low = *(const tailrace_unaligned *)source;
    tailrace_aligned high = *(const tailrace_unaligned *)(source + 32);
    __builtin_nontemporal_store(low, (tailrace_aligned *)target);
    __builtin_nontemporal_store(high, (tailrace_aligned *)(target + 32));
  }
}
#endif

/// Copies `count` bytes to memory that is not read again soon: whole lines are written past the caches, which spares
/// reading them first, and keeps in the caches what is there. The two must not overlap.
static inline void tailrace_copy_past_caches(void *_Nonnull to, const void *_Nonnull from, size_t count) {
  char *target = (char *)to;
  const char *source = (const char *)from;
  size_t head = (size_t)(-(uintptr_t)target & 63);
  // Short pieces share most of their lines with their neighbours.
  if (count < head + 256) {
    memcpy(target, source, count);
    return;
  }
  memcpy(target, source, head);
  target += head, source += head, count -= head;
  size_t lines = count & ~(size_t)63;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx")) {
    tailrace_copy_lines_avx(target, source, lines);
  } else {
    tailrace_copy_lines(target, source, lines);
  }
#else
  tailrace_copy_lines(target, source, lines);
#endif
  memcpy(target + lines, source + lines, count - lines);
}
