// Memory in huge pages.

internal import Glibc

/// Memory for tables and slabs. With small pages, nearly every random access walks the page tables first,
/// which takes longer on a virtual machine than the access itself.
public enum HugePages {
  /// The size of a huge page.
  public static let pageBytes = 2 << 20

  /// Allocates memory, to be freed with `deallocate`. If `isLarge`, it uses huge pages where the size is
  /// worth it and the kernel has them.
  @unsafe public static func allocate(byteCount: Int, isLarge: Bool) -> UnsafeMutableRawPointer {
    let isLarge = isLarge && byteCount >= pageBytes
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: byteCount, alignment: isLarge ? pageBytes : 4096)
    // Sound: the advice covers only the memory just allocated, and changes no byte of it. If the kernel
    // ignores it, pages stay small, so the result does not matter.
    if isLarge { _ = unsafe madvise(memory, byteCount / pageBytes * pageBytes, MADV_HUGEPAGE) }
    return unsafe memory
  }

  /// Gives back the pages that lie wholly within memory that `allocate` gave and whose contents nobody needs.
  /// They come back when they are written to.
  @unsafe public static func discard(_ memory: UnsafeMutableRawPointer, byteCount: Int) {
    let pageBytes: UInt = 4096
    let start = (UInt(bitPattern: memory) + pageBytes - 1) / pageBytes * pageBytes
    let end = (UInt(bitPattern: memory) + UInt(byteCount)) / pageBytes * pageBytes
    guard start < end else { return }
    // Sound: the advice concerns only what the caller gives up. Where the kernel does not take it, the pages
    // stay: so its answer does not matter.
    _ = unsafe madvise(UnsafeMutableRawPointer(bitPattern: start), Int(end - start), MADV_DONTNEED)
  }
}
