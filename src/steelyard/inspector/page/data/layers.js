// @ts-check
// The layers of a net as a tree, from the dots and slashes in their names.

const MARK = /[./]/;
/**
 * What the layers without layers share: a map for each would take longer to make than the tree.
 * @type {Map<string, Layer>}
 */
const NONE = new Map();
/**
 * What a layer has before it is measured; its size is NaN until then, since engines keep floats and integers apart.
 * @type {number[]}
 */
const UNKNOWN = [];

/**
 * Build the tree of all weights.
 * @type {(index: Index) => Layer}
 */
export function layersOf(index) {
  const root = node("All weights", null);
  let [last, layer] = ["", root];
  for (let row = 0; row < index.count; row += 1) {
    const holder = index.columns.layer[row] ?? "";
    if (holder !== last) [last, layer] = [holder, grown(root, holder)];
    layer.weights.push(row);
  }
  mergeOnlyChild(root);
  measured(root, 0, index);
  /** @type {Layer | null} */
  let only = root;
  while (only) {
    only.open = true;
    /** @type {Layer[]} */
    const below = [...only.layers.values()];
    only = below.length === 1 && !only.weights.length ? below[0] : null;
  }
  return root;
}

/**
 * The visible lines of the tree: layers, and the weights of open layers.
 * @type {(root: Layer) => TreeLine[]}
 */
export function linesOf(root) {
  /** @type {TreeLine[]} */
  const lines = [];

  /** @type {(layer: Layer, nth: number, among: number) => void} */
  function walk(layer, nth, among) {
    lines.push({ layer, row: -1, level: layer.level, parent: layer.parent, nth, among });
    if (!layer.open) return;
    const size = layer.layers.size + layer.weights.length;
    let place = 0;
    for (const child of layer.inOrder) {
      place += 1;
      if (typeof child === "number") lines.push({ layer: null, row: child, level: layer.level + 1, parent: layer, nth: place, among: size });
      else walk(child, place, size);
    }
  }

  walk(root, 1, 1);
  return lines;
}

/**
 * Groups of neighbouring rows that are named below a picture: the deepest cut of the tree with at most `most` groups.
 * @type {(root: Layer, most: number) => Band[]}
 */
export function bandsOf(root, most) {
  let layers = [root];
  for (;;) {
    const next = layers.flatMap((layer) => (layer.layers.size ? below(layer) : [layer]));
    if (next.length > most) return layers.flatMap((layer) => (layer.layers.size > most ? bunches(layer, most) : [layer]));
    if (next.every((layer, nth) => layer === layers[nth])) break;
    layers = next;
  }
  return layers[0] === root && layers.length === 1 ? [] : layers;
}

/**
 * The layers in a layer, and before, between and after these its own weights, under its name.
 * @type {(layer: Layer) => Layer[]}
 */
function below(layer) {
  if (!layer.parent || !layer.weights.length) return [...layer.layers.values()];
  /** @type {Layer[]} */
  const found = [];
  for (const child of layer.inOrder) {
    const own = found[found.length - 1];
    if (typeof child !== "number") found.push(child);
    else if (own && own.layers === NONE && own.label === layer.label && own.parent === layer.parent) own.rows.push(child);
    else found.push({ ...node(layer.label, layer.parent), rows: [child] });
  }
  return found;
}

/**
 * The bands of a layer with too many parts: several share a band, which has the name of the first.
 * @type {(layer: Layer, most: number) => Band[]}
 */
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

/**
 * The label of a weight in its layer: the rest of its name after that of the layer.
 * @type {(index: Index, row: number) => string}
 */
export function lastPart(index, row) {
  const [name, layer] = [index.columns.name[row], index.columns.layer[row] ?? ""];
  const rest = layer && name.startsWith(layer) && MARK.test(name[layer.length] ?? "") ? layer.length + 1 : 0;
  return rest ? index.shown[row].slice(-(name.length - rest)) || index.shown[row] : index.shown[row];
}

/** @type {(label: string, parent: Layer | null) => Layer} */
function node(label, parent) {
  return { label, parent, level: 0, layers: NONE, weights: [], rows: UNKNOWN, size: Number.NaN, inOrder: UNKNOWN, open: false };
}

/** @type {(root: Layer, name: string) => Layer} */
function grown(root, name) {
  let at = root;
  for (const word of name.split(MARK)) {
    if (!word) continue;
    let next = at.layers.get(word);
    if (!next) {
      next = node(word, at);
      if (at.layers === NONE) at.layers = new Map();
      at.layers.set(word, next);
    }
    at = next;
  }
  return at;
}

/**
 * Join a layer and its only child, another layer, into one line.
 * @type {(layer: Layer) => void}
 */
function mergeOnlyChild(layer) {
  for (const [word, child] of layer.layers) {
    let only = child;
    while (only.layers.size === 1 && !only.weights.length) {
      const [next] = only.layers.values();
      next.label = `${only.label}.${next.label}`;
      only = next;
    }
    only.parent = layer;
    if (only !== child) layer.layers.set(word, only);
    if (only.layers !== NONE) mergeOnlyChild(only);
  }
}

/** @type {(layer: Layer, level: number, index: Index) => void} */
function measured(layer, level, index) {
  const { tied, size } = index.columns;
  layer.level = level;
  layer.inOrder = layer.rows = layer.weights;
  let total = 0;
  for (const row of layer.weights) if (tied[row] === null) total += size[row];
  if (layer.layers !== NONE) {
    placed(layer, index);
    for (const child of layer.layers.values()) total += child.size;
  }
  layer.size = total;
}

/** @type {(layer: Layer, index: Index) => void} */
function placed(layer, index) {
  for (const child of layer.layers.values()) measured(child, layer.level + 1, index);
  /** @type {(child: Layer | number) => number} */
  const firstRow = (child) => (typeof child === "number" ? child : child.rows[0]);
  layer.inOrder = ascending([...layer.layers.values(), ...layer.weights], firstRow);
  /** @type {number[]} */
  const rows = [];
  for (const child of layer.inOrder) {
    if (typeof child === "number") rows.push(child);
    else for (const row of child.rows) rows.push(row);
  }
  layer.rows = ascending(rows, (row) => row);
}

/**
 * Sort by numbers, which mostly are in order.
 * @type {<Item>(items: Item[], by: (item: Item) => number) => Item[]}
 */
export function ascending(items, by) {
  for (let nth = 1; nth < items.length; nth += 1) {
    if (by(items[nth - 1]) >= by(items[nth])) return items.sort((one, other) => by(one) - by(other));
  }
  return items;
}
