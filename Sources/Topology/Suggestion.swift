// Finds the known word that a misspelt one most likely means.

enum Suggestion {
  /// The candidate nearest to `word`, ignoring case, if it is near enough to be meant.
  static func nearest(to word: String, among candidates: [String]) -> String? {
    // One typo for every three letters, at most three: `decision_wiat` is near, `foo` is near nothing.
    let allowed = max(1, min(3, word.unicodeScalars.count / 3))
    let best =
      candidates
      .map { (candidate: $0, distance: distance(word.lowercased(), $0.lowercased(), limit: allowed)) }
      .min { $0.distance < $1.distance }
    return best.flatMap { $0.distance <= allowed ? $0.candidate : nil }
  }

  /// Optimal string alignment distance: insertions, deletions, replacements, and swaps of neighbours, each 1.
  /// If the lengths alone put it above `limit`, it is `limit + 1`.
  private static func distance(_ left: String, _ right: String, limit: Int) -> Int {
    let left = Array(left.unicodeScalars)
    let right = Array(right.unicodeScalars)
    guard abs(left.count - right.count) <= limit else { return limit + 1 }
    var beforeLast: [Int] = []
    var last = Array(0...right.count)
    for (row, letter) in left.enumerated() {
      var current = [row + 1]
      for (column, other) in right.enumerated() {
        var cost = min(current[column] + 1, last[column + 1] + 1, last[column] + (letter == other ? 0 : 1))
        if row > 0, column > 0, letter == right[column - 1], left[row - 1] == other {
          cost = min(cost, beforeLast[column - 1] + 1)
        }
        current.append(cost)
      }
      beforeLast = last
      last = current
    }
    return last[right.count]
  }
}
