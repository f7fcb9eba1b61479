// Finds a Collector's configuration, or part of one, in a file.

internal import Yams

/// The tail-sampling processors of a file, in whatever form it has them.
///
/// A whole configuration, with the key `processors`, may be at the top level, under `config`, as in Helm
/// values, or under `spec.config`, as in an operator's resource. A fragment may start with the processor
/// itself: `tail_sampling:`, the contents of that key, or the list of policies.
struct CollectorLayout {
  /// The whole configuration; nil where the file has only a part.
  private(set) var configuration: TopologyField?
  private(set) var processors: [TopologyField] = []
  /// Whether the file is recognizably a Collector's.
  private(set) var isCollectors = false

  init(_ root: Node) {
    let file = TopologyField(key: "", path: "", place: FilePlace(line: 1, column: 1), node: root)
    if case .scalar(let kind)? = file.child("kind")?.node, Kind(rawValue: kind.string) != nil { return }
    for path in [[], ["config"], ["spec", "config"]] as [[String]] {
      let place = path.reduce(file as TopologyField?) { field, key in field.flatMap { $0.child(key) } }
      guard let place, let section = place.child("processors") else { continue }
      (configuration, isCollectors) = (place, true)
      processors = CollectorLayout.processors(in: section)
      return
    }
    processors = CollectorLayout.processors(in: file)
    isCollectors =
      !processors.isEmpty || ["receivers", "exporters", "service"].contains { file.child($0) != nil }
    guard processors.isEmpty, file.child("kind") == nil else { return }
    let isBody = file.child("policies") != nil
    let isPolicies = file.items.contains { $0.child("type") != nil }
    if isBody || isPolicies {
      processors = [TopologyField(key: "tail_sampling", path: "", place: file.place, node: root)]
    }
  }

  /// The processors that are keys of `field`, or of the items of its list.
  private static func processors(in field: TopologyField) -> [TopologyField] {
    (field.isList ? field.items : [field]).flatMap { section in
      section.children.filter { CollectorImporter.isKind("tail_sampling", $0.key) }
    }
  }
}

extension TopologyField {
  /// Its keys with their values; of a repeated key, the first.
  fileprivate var children: [TopologyField] {
    guard case .mapping(let mapping) = node else { return [] }
    return mapping.compactMap { key, value in
      guard case .scalar(let scalar) = key else { return nil }
      let path = path.isEmpty ? scalar.string : "\(path).\(scalar.string)"
      return TopologyField(
        key: scalar.string, path: path, place: key.mark.map(FilePlace.init) ?? place, node: value)
    }
  }

  fileprivate func child(_ key: String) -> TopologyField? { children.first { $0.key == key } }

  fileprivate var items: [TopologyField] {
    guard case .sequence(let sequence) = node else { return [] }
    return sequence.enumerated().map { index, node in
      TopologyField(
        key: key, path: "\(path)[\(index)]", place: node.mark.map(FilePlace.init) ?? place, node: node)
    }
  }
}
