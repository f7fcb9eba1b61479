// Line plots as SVG: panels over one another that share their x axis.

/// Panels of lines over one x axis.
public struct LinePlot: Sendable {
  /// One line.
  public struct Line: Sendable {
    /// What the legend calls it.
    public var name: String
    /// Its points in ascending order of x.
    public var points: [(x: Double, y: Double)]

    /// Makes a line.
    public init(_ name: String, _ points: [(x: Double, y: Double)]) {
      self.name = name
      self.points = points
    }
  }

  /// Lines with a common y axis.
  public struct Panel: Sendable {
    /// What stands above it.
    public var title: String
    /// Whether the y axis is logarithmic; then values must be above zero.
    public var isLogarithmic: Bool
    /// The lines, six at most in different colours.
    public var lines: [Line] = []
    /// A shaded band of y.
    public var band: (low: Double, high: Double)?

    /// Makes an empty panel.
    public init(title: String, isLogarithmic: Bool = false) {
      self.title = title
      self.isLogarithmic = isLogarithmic
    }
  }

  /// What stands above all.
  public var title: String
  /// What stands below the x axis.
  public var xLabel: String
  /// Whether the x axis is logarithmic; then values must be above zero.
  public var isXLogarithmic = false
  /// The panels from top to bottom.
  public var panels: [Panel]
  /// Vertical lines through all panels, with their names.
  public var marks: [(x: Double, name: String)]

  private static let width = 960.0
  private static let panelHeight = 190.0
  private static let gap = 50.0
  private static let left = 80.0
  private static let right = 170.0
  private static let top = 60.0
  /// Colours that the colour-blind can tell apart. Source: Okabe and Ito, "Color Universal Design", 2008.
  private static let colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]

  /// Makes a plot.
  public init(title: String, xLabel: String, panels: [Panel], marks: [(x: Double, name: String)] = []) {
    self.title = title
    self.xLabel = xLabel
    self.panels = panels
    self.marks = marks
  }

  /// The plot as an SVG document.
  public func svg() -> String {
    let height = LinePlot.top + Double(panels.count) * (LinePlot.panelHeight + LinePlot.gap) + 10
    let all = panels.flatMap(\.lines).flatMap(\.points).map(\.x)
    let xAxis = Axis(covering: all, isLogarithmic: isXLogarithmic, isTight: true)
    var text = """
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(whole(LinePlot.width)) \(whole(height))" \
      width="\(whole(LinePlot.width))" height="\(whole(height))" font-family="sans-serif" font-size="12">
      <rect width="100%" height="100%" fill="#ffffff"/>
      <text x="\(whole(LinePlot.left))" y="26" font-size="17" fill="#222222">\(escaped(title))</text>

      """
    for (place, panel) in panels.enumerated() {
      let top = LinePlot.top + Double(place) * (LinePlot.panelHeight + LinePlot.gap)
      append(panel, top: top, xAxis, to: &text)
    }
    let middle = (LinePlot.left + LinePlot.width - LinePlot.right) / 2
    text += label(xLabel, middle, height - 14, anchor: "middle")
    return text + "</svg>\n"
  }

  private func append(_ panel: Panel, top: Double, _ xAxis: Axis, to text: inout String) {
    let values = panel.lines.flatMap(\.points).map(\.y) + (panel.band.map { [$0.low, $0.high] } ?? [])
    let yAxis = Axis(covering: values, isLogarithmic: panel.isLogarithmic, isTight: false)
    let (left, right) = (LinePlot.left, LinePlot.width - LinePlot.right)
    let bottom = top + LinePlot.panelHeight
    func x(_ value: Double) -> Double { left + xAxis.part(of: value) * (right - left) }
    func y(_ value: Double) -> Double { bottom - yAxis.part(of: value) * LinePlot.panelHeight }
    text += label(panel.title, left, top - 8, anchor: "start", weight: "bold")
    if let band = panel.band {
      let height = digits(y(band.low) - y(band.high))
      text += "<rect x=\"\(whole(left))\" y=\"\(digits(y(band.high)))\" width=\"\(whole(right - left))\" "
      text += "height=\"\(height)\" fill=\"#e8f0e8\"/>\n"
    }
    for tick in yAxis.ticks {
      text += stroke(left, y(tick), right, y(tick), "#dddddd")
      text += label(LinePlot.short(tick), left - 8, y(tick) + 4, anchor: "end")
    }
    for tick in xAxis.ticks {
      text += stroke(x(tick), bottom, x(tick), bottom + 5, "#888888")
      text += label(LinePlot.short(tick), x(tick), bottom + 18, anchor: "middle")
    }
    for mark in marks {
      text += stroke(x(mark.x), top, x(mark.x), bottom, "#999999", dash: "3 3")
      text += label(mark.name, x(mark.x) + 4, top + 12, anchor: "start")
    }
    text += stroke(left, bottom, right, bottom, "#888888")
    for (place, line) in panel.lines.enumerated() {
      let colour = LinePlot.colours[place % LinePlot.colours.count]
      let points = line.points.map { "\(digits(x($0.x))),\(digits(y($0.y)))" }.joined(separator: " ")
      text += "<polyline fill=\"none\" stroke=\"\(colour)\" stroke-width=\"1.4\" points=\"\(points)\"/>\n"
      let row = top + 12 + Double(place) * 18
      text += stroke(right + 12, row - 4, right + 32, row - 4, colour, width: "2")
      text += label(line.name, right + 38, row, anchor: "start")
    }
  }

  private func stroke(
    _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ colour: String, width: String = "1",
    dash: String = "none"
  ) -> String {
    "<line x1=\"\(digits(x1))\" y1=\"\(digits(y1))\" x2=\"\(digits(x2))\" y2=\"\(digits(y2))\" "
      + "stroke=\"\(colour)\" stroke-width=\"\(width)\" stroke-dasharray=\"\(dash)\"/>\n"
  }

  private func label(
    _ text: String, _ x: Double, _ y: Double, anchor: String, weight: String = "normal"
  ) -> String {
    "<text x=\"\(digits(x))\" y=\"\(digits(y))\" text-anchor=\"\(anchor)\" font-weight=\"\(weight)\" "
      + "fill=\"#222222\">\(escaped(text))</text>\n"
  }

  private func whole(_ value: Double) -> String { String(Int(value.rounded())) }

  /// With one digit after the point, which is finer than a screen shows.
  private func digits(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    return "\(tenths < 0 ? "-" : "")\(abs(tenths) / 10).\(abs(tenths) % 10)"
  }

  private func escaped(_ text: String) -> String {
    var escaped = ""
    for character in text {
      switch character {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      default: escaped.append(character)
      }
    }
    return escaped
  }

  /// A tick's value with a unit prefix, as in 30k.
  static func short(_ value: Double) -> String {
    for (unit, name) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] where abs(value) >= unit {
      return plain(value / unit) + name
    }
    return plain(value)
  }

  private static func plain(_ value: Double) -> String {
    let rounded = (value * 1e6).rounded() / 1e6
    return rounded == rounded.rounded() ? String(Int(rounded)) : "\(rounded)"
  }
}

/// Maps values to 0 to 1 and says where ticks go.
private struct Axis {
  private let low: Double
  private let high: Double
  private let isLogarithmic: Bool
  let ticks: [Double]

  /// - Parameter isTight: whether the axis ends at the values. If not, it ends at ticks, and a linear one
  ///   begins at zero.
  init(covering values: [Double], isLogarithmic: Bool, isTight: Bool) {
    self.isLogarithmic = isLogarithmic
    let most = values.max() ?? 1
    if isLogarithmic {
      let least = max(values.min() ?? 1, 1e-12)
      var tick = 1.0
      while tick > least { tick /= 10 }
      while tick * 10 <= least { tick *= 10 }
      var ticks = [tick]
      while tick < most {
        tick *= 10
        ticks.append(tick)
      }
      self.ticks = ticks
      low = LinePlot.binaryLogarithm(ticks[0])
      high = max(LinePlot.binaryLogarithm(tick), low + 1)
    } else {
      let least = isTight ? values.min() ?? 0 : 0
      let step = Axis.step(for: max(most - least, 1e-9))
      let end = isTight ? most : (most * 1.12 / step).rounded(.up) * step
      low = least
      high = max(end, least + 1e-9)
      ticks = Array(stride(from: (least / step).rounded(.up) * step, through: high + step * 1e-6, by: step))
    }
  }

  func part(of value: Double) -> Double {
    let place = isLogarithmic ? LinePlot.binaryLogarithm(max(value, 1e-12)) : value
    return (place - low) / (high - low)
  }

  /// 1, 2, 3 or 5 times a power of ten, so that there are four to ten ticks.
  private static func step(for range: Double) -> Double {
    var power = 1.0
    while power * 10 <= range { power *= 10 }
    while power > range { power /= 10 }
    let factor = range / power
    return factor > 5 ? power : factor > 2 ? power / 2 : power / 5
  }
}

extension LinePlot {
  /// The logarithm to base two of a positive number, to about 40 bits: the exponent, then a bit per squaring.
  static func binaryLogarithm(_ value: Double) -> Double {
    var (result, rest, bit) = (Double(value.exponent), value.significand, 0.5)
    for _ in 0..<40 {
      rest *= rest
      if rest >= 2 {
        rest /= 2
        result += bit
      }
      bit /= 2
    }
    return result
  }

  /// `base` to any power, for positive bases: by square roots for the bits behind the point.
  static func power(_ base: Double, _ exponent: Double) -> Double {
    var (result, square, whole) = (1.0, base, Int(exponent))
    while whole > 0 {
      if whole & 1 == 1 { result *= square }
      square *= square
      whole >>= 1
    }
    var (root, rest) = (base, exponent - exponent.rounded(.down))
    for _ in 0..<40 where rest > 0 {
      root = root.squareRoot()
      rest *= 2
      if rest >= 1 {
        result *= root
        rest -= 1
      }
    }
    return result
  }
}
