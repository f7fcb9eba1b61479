// Places a graph in layers, callers left of those they call: circles are cut, each node goes as far right as
// its longest chain of callers, and the order within the layers is swept for few crossings. After Sugiyama,
// Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System Structures" (1981).

const WIDTH = 184;
const HEIGHT = 44;
const GAP = 14;
const BETWEEN = 72;
// A layer with more nodes becomes several columns.
const COLUMN_MAX = 36;
// Points where long calls pass a layer make for straighter lines, and cost time: not for large graphs.
const BENDS_MAX = 1500;

/** Marks the calls that go back, so that without them there is no circle. The order is that of Eades, Lin and
 * Smyth, "A fast and effective heuristic for the feedback arc set problem" (1993): those that call no one
 * come last, those that no one calls first, else the one that calls most and is called least. */
function cutCircles(nodes, edges) {
  for (const node of nodes) [node.calls, node.called, node.rank] = [node.out.length, node.in.length, null];
  let [first, last, left] = [0, 0, [...nodes]];
  const rank = (node, value) => {
    node.rank = value;
    for (const edge of node.out) edge.target.called--;
    for (const edge of node.in) edge.source.calls--;
  };
  while (left.length) {
    const count = left.length;
    for (const node of left) if (node.calls === 0) rank(node, --last + 2 * nodes.length);
    left = left.filter((node) => node.rank === null);
    for (const node of left) if (node.called === 0) rank(node, first++);
    left = left.filter((node) => node.rank === null);
    if (left.length < count) continue;
    rank(left.reduce((best, node) => (node.calls - node.called > best.calls - best.called ? node : best)),
      first++);
    left = left.filter((node) => node.rank === null);
  }
  for (const edge of edges) {
    edge.isBack = edge.source.rank > edge.target.rank;
    [edge.upper, edge.lower] = edge.isBack ? [edge.target, edge.source] : [edge.source, edge.target];
  }
}

/** Longest-path layering: a node's layer is one more than the last of those above it. */
function layer(nodes, edges) {
  for (const node of nodes) [node.layer, node.waits, node.below] = [0, 0, []];
  for (const edge of edges) {
    edge.lower.waits++;
    edge.upper.below.push(edge.lower);
  }
  const ready = nodes.filter((node) => node.waits === 0);
  for (let at = 0; at < ready.length; at++) {
    for (const next of ready[at].below) {
      next.layer = Math.max(next.layer, ready[at].layer + 1);
      if (--next.waits === 0) ready.push(next);
    }
  }
}

/** Adds a point to each layer that a call passes; returns the segments between neighbouring layers. */
function bend(edges, layers) {
  const long = edges.reduce((sum, edge) => sum + edge.lower.layer - edge.upper.layer - 1, 0);
  const links = [];
  for (const edge of edges) {
    edge.chain = [edge.upper];
    if (long <= BENDS_MAX) {
      for (let at = edge.upper.layer + 1; at < edge.lower.layer; at++) {
        const point = { isBend: true, layer: at, height: 4, up: [], down: [] };
        layers[at].push(point);
        edge.chain.push(point);
      }
    }
    edge.chain.push(edge.lower);
    for (let at = 1; at < edge.chain.length; at++) links.push([edge.chain[at - 1], edge.chain[at]]);
  }
  for (const [upper, lower] of links) {
    upper.down.push(lower);
    lower.up.push(upper);
  }
  return links;
}

/** The crossings between two neighbouring layers, counted with a Fenwick tree. */
function crossings(layers) {
  let sum = 0;
  for (let at = 1; at < layers.length; at++) {
    const tree = new Int32Array(layers[at].length + 1);
    let seen = 0;
    for (const upper of layers[at - 1]) {
      const ends = upper.down.filter((node) => node.layer === at).map((node) => node.order);
      for (const end of ends) {
        let before = 0;
        for (let index = end + 1; index > 0; index -= index & -index) before += tree[index];
        sum += seen - before;
      }
      for (const end of ends) {
        seen++;
        for (let index = end + 1; index < tree.length; index += index & -index) tree[index]++;
      }
    }
  }
  return sum;
}

const number = (list) => list.forEach((node, order) => (node.order = order));

/** Sorts each layer by the mean place of its neighbours, to and fro, and keeps the best order. */
function order(layers, sweeps) {
  layers.forEach(number);
  let best = { crossings: crossings(layers), layers: layers.map((nodes) => [...nodes]) };
  for (let sweep = 0; sweep < sweeps && best.crossings > 0; sweep++) {
    const isDown = sweep % 2 === 0;
    for (let step = 1; step < layers.length; step++) {
      const nodes = layers[isDown ? step : layers.length - 1 - step];
      for (const node of nodes) {
        const neighbours = isDown ? node.up : node.down;
        const place = (other) => (other.order + 0.5) / layers[other.layer].length;
        node.mean = neighbours.length
          ? neighbours.reduce((sum, other) => sum + place(other), 0) / neighbours.length
          : place(node);
      }
      nodes.sort((a, b) => a.mean - b.mean || a.order - b.order);
      number(nodes);
    }
    const now = crossings(layers);
    if (now < best.crossings) best = { crossings: now, layers: layers.map((nodes) => [...nodes]) };
  }
  return best;
}

/** Gives each node its place: layers as columns, each node near its neighbours without touching the next. */
function place(layers) {
  const columns = [];
  let x = 0;
  for (const nodes of layers) {
    const real = nodes.filter((node) => !node.isBend).length;
    const parts = Math.max(1, Math.ceil(real / COLUMN_MAX));
    const each = Math.ceil(nodes.length / parts);
    for (let part = 0; part < parts; part++) {
      const column = nodes.slice(part * each, (part + 1) * each);
      column.forEach((node) => (node.x = x));
      columns.push(column);
      x += WIDTH + (part === parts - 1 ? BETWEEN : 32);
    }
  }
  for (const column of columns) {
    let y = -column.reduce((sum, node) => sum + node.height + GAP, -GAP) / 2;
    for (const node of column) {
      node.y = y + node.height / 2;
      y += node.height + GAP;
    }
  }
  for (let pass = 0; pass < 6; pass++) {
    const isDown = pass % 2 === 0;
    for (const column of isDown ? columns : [...columns].reverse()) settle(column, isDown);
  }
  return x - BETWEEN;
}

/** Moves a column's nodes towards their neighbours, keeping order and gaps: each block that wants the same
 * space moves to its mean (pool adjacent violators). */
function settle(column, isDown) {
  const blocks = [];
  let offset = 0;
  for (const node of column) {
    const near = isDown ? node.up : node.down;
    const wish = near.length ? near.reduce((sum, other) => sum + other.y, 0) / near.length : node.y;
    node.offset = offset + node.height / 2;
    blocks.push({ sum: wish - node.offset, size: 1, nodes: [node] });
    offset += node.height + GAP;
    while (blocks.length > 1) {
      const [a, b] = blocks.slice(-2);
      if (a.sum / a.size <= b.sum / b.size) break;
      blocks.splice(-2, 2, { sum: a.sum + b.sum, size: a.size + b.size, nodes: a.nodes.concat(b.nodes) });
    }
  }
  for (const block of blocks) for (const node of block.nodes) node.y = block.sum / block.size + node.offset;
}

/** Nodes without calls, in rows below the rest. */
function placeAlone(alone, width, bottom) {
  const across = Math.max(4, Math.floor((width + GAP) / (WIDTH + GAP)));
  alone.forEach((node, at) => {
    node.x = (at % across) * (WIDTH + GAP);
    node.y = bottom + 60 + Math.floor(at / across) * (HEIGHT + GAP);
  });
}

/** Lays out `services` ([{name, calls}]) and `calls` ([{from, to}]). Returns nodes with `x` (left) and `y`
 * (middle), edges with the `points` of their lines, and what they all cover. */
export function layout(services, calls, sweeps = 12) {
  const nodes = services.map((service) => ({
    service, name: service.name, weight: service.calls ?? 0, height: HEIGHT, in: [], out: [], up: [],
      down: [],
  }));
  const byName = new Map(nodes.map((node) => [node.name, node]));
  const edges = [];
  for (const call of calls) {
    const [source, target] = [byName.get(call.from), byName.get(call.to)];
    if (!source || !target) continue;
    if (source === target) source.own = call;
    else edges.push({ call, source, target, isBack: false });
  }
  for (const edge of edges) {
    edge.source.out.push(edge);
    edge.target.in.push(edge);
  }
  const alone = nodes.filter((node) => !node.in.length && !node.out.length);
  const joined = nodes.filter((node) => node.in.length || node.out.length);
  cutCircles(joined, edges);
  layer(joined, edges);
  const layers = Array.from({ length: joined.reduce((most, node) => Math.max(most, node.layer + 1), 0) },
    () => []);
  for (const node of joined) layers[node.layer].push(node);
  bend(edges, layers);
  const best = order(layers, sweeps);
  const width = Math.max(place(best.layers), WIDTH);
  const bottom = joined.reduce((most, node) => Math.max(most, node.y + HEIGHT / 2), -60);
  placeAlone(alone, width, bottom);
  for (const edge of edges) edge.points = edge.chain.map((node) =>
    ({ x: node.x, y: node.y, isBend: node.isBend }));
  const box = { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity };
  for (const node of nodes) {
    box.left = Math.min(box.left, node.x);
    box.right = Math.max(box.right, node.x + WIDTH);
    box.top = Math.min(box.top, node.y - HEIGHT / 2);
    box.bottom = Math.max(box.bottom, node.y + HEIGHT / 2);
  }
  return { nodes, edges, box, layers: layers.length, crossings: best.crossings, width: WIDTH,
    height: HEIGHT };
}
