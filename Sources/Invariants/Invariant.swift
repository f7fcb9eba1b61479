// Our own bugs: always checked, in every build, with a reason that reaches the log.

/// Stops the process, saying why, unless `condition` holds.
///
/// Under `-O` a failing `precondition` prints nothing; `fatalError` does. Kubernetes restarts the process and
/// the log replays, so stopping loses nothing, while continuing with broken state could. Bad input never gets
/// here: it is a `MalformedInput`.
@inlinable @inline(__always)
package func invariant(
  _ condition: Bool, _ reason: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line
) {
  if !condition { fatalError("invariant broken: \(reason())", file: file, line: line) }
}
