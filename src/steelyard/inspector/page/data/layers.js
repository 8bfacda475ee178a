// The layers of a net as a tree, from the dots and slashes in their names.

const MARK = /[./]/;

/** Build the tree of all weights: nodes {label, layers, weights, rows, parent, level, open}. */
export function layersOf(index) {
  const root = node("All weights", null, 0);
  for (let row = 0; row < index.count; row += 1) {
    const holder = index.columns.layer[row] ?? "";
    grown(root, holder.split(MARK).filter(Boolean), index.columns.layer[row] !== null).weights.push(row);
  }
  joined(root);
  measured(root, 0, index);
  for (let layer = root; layer; layer = layer.layers.size === 1 && !layer.weights.length ? [...layer.layers.values()][0] : null) {
    layer.open = true;
  }
  return root;
}

/** The lines of the tree that can be seen: nodes, and of open ones their weights as {row, level, parent}. */
export function linesOf(root) {
  const lines = [];
  (function walk(layer, nth, among) {
    lines.push({ layer, level: layer.level, nth, among });
    if (!layer.open) return;
    const size = layer.layers.size + layer.weights.length;
    let place = 0;
    for (const child of layer.inOrder) {
      place += 1;
      if (typeof child === "number") lines.push({ row: child, level: layer.level + 1, parent: layer, nth: place, among: size });
      else walk(child, place, size);
    }
  })(root, 1, 1);
  return lines;
}

/** Groups of neighbouring rows to be named below a picture: the deepest cut of the tree with at most `most` of them. */
export function bandsOf(root, most) {
  let layers = [root];
  for (;;) {
    const next = layers.flatMap((layer) => (layer.layers.size ? [...layer.layers.values()] : [layer]));
    if (next.length > most) return layers.flatMap((layer) => (layer.layers.size > most ? bunches(layer, most) : [layer]));
    if (next.every((layer, nth) => layer === layers[nth])) break;
    layers = next;
  }
  return layers[0] === root && layers.length === 1 ? [] : layers;
}

// So many layers that some share a band, which has the first one's name.
function bunches(layer, most) {
  const parts = [...layer.layers.values()];
  const step = Math.ceil(parts.length / (most / 2));
  return parts
    .filter((_, nth) => nth % step === 0)
    .map((first, nth) => {
      const rows = parts.slice(nth * step, (nth + 1) * step).flatMap((part) => part.rows);
      return { label: nth || !layer.parent ? first.label : `${layer.label}.${first.label}`, rows: rows.sort((a, b) => a - b) };
    });
}

/** The label of a weight in its layer: what its name has beyond the layer's. */
export function lastPart(index, row) {
  const [name, layer] = [index.columns.name[row], index.columns.layer[row] ?? ""];
  const rest = layer && name.startsWith(layer) && MARK.test(name[layer.length] ?? "") ? layer.length + 1 : 0;
  return rest ? index.shown[row].slice(-(name.length - rest)) || index.shown[row] : index.shown[row];
}

function node(label, parent) {
  return { label, parent, level: 0, layers: new Map(), weights: [], rows: [], size: 0, inOrder: [], open: false };
}

function grown(root, words) {
  let at = root;
  for (const word of words) {
    if (!at.layers.has(word)) at.layers.set(word, node(word, at));
    at = at.layers.get(word);
  }
  return at;
}

// A layer that holds nothing but one other is one line with it.
function joined(layer) {
  for (const [word, child] of [...layer.layers]) {
    let only = child;
    while (only.layers.size === 1 && !only.weights.length) {
      const [next] = only.layers.values();
      next.label = `${only.label}.${next.label}`;
      only = next;
    }
    only.parent = layer;
    layer.layers.set(word, only);
    joined(only);
  }
}

function measured(layer, level, index) {
  layer.level = level;
  for (const child of layer.layers.values()) measured(child, level + 1, index);
  const parts = [...[...layer.layers.values()].map((child) => [child.rows[0], child]), ...layer.weights.map((row) => [row, row])];
  layer.inOrder = parts.sort((one, other) => one[0] - other[0]).map(([, child]) => child);
  layer.rows = layer.inOrder.flatMap((child) => (typeof child === "number" ? [child] : child.rows)).sort((a, b) => a - b);
  layer.size = layer.rows.reduce((sum, row) => sum + (index.columns.tied[row] === null ? index.columns.size[row] : 0), 0);
}
