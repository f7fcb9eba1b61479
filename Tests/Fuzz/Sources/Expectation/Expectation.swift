// How a fuzz target reports a failure.

/// Ends the process, which libFuzzer reports together with the input, unless `condition` holds.
@inline(__always)
public func expect(
  _ condition: Bool, _ what: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line
) {
  if !condition { fatalError(what(), file: file, line: line) }
}
