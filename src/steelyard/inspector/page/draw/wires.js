// @ts-check
// What feeds each layer of a list: a line from the layer above, an arc from one further up.

const SPACE = "http://www.w3.org/2000/svg";
/** Pixels from the right end to the line, between arcs, and of the circle of a layer. */
const [END, LANE, DOT] = [12, 7, 3.5];
/** Arcs beside one another at most; more share the outermost place. */
const LANES = 16;

/** @typedef {{ from: number, to: number, lane: number }} Wire */

/**
 * The wires of layers: `feeds[n]` are the places of those that feed the nth; each gets a lane of its own among those that it meets.
 * @type {(feeds: number[][]) => Wire[]}
 */
export function wiresOf(feeds) {
  const wires = feeds.flatMap((from, to) => from.filter((one) => one >= 0 && one < to).map((one) => ({ from: one, to, lane: -1 })));
  /** @type {number[]} */
  const ends = [];
  for (const wire of [...wires].sort((one, other) => one.from - other.from || one.to - other.to)) {
    if (wire.to === wire.from + 1) continue;
    let lane = ends.findIndex((end) => end <= wire.from);
    if (lane < 0) lane = Math.min(ends.length, LANES - 1);
    ends[lane] = Math.max(ends[lane] ?? 0, wire.to);
    wire.lane = lane;
  }
  return wires;
}

/**
 * The width that wires need.
 * @type {(wires: Wire[]) => number}
 */
export function widthOfWires(wires) {
  return 2 * END + LANE * (1 + wires.reduce((most, { lane }) => Math.max(most, lane), -1));
}

/**
 * A picture of wires; `heights[n]` is the middle of the nth layer, null for a line that is no layer.
 * @type {(wires: Wire[], heights: (number | null)[], total: number) => SVGElement}
 */
export function drawWires(wires, heights, total) {
  const width = widthOfWires(wires);
  const x = width - END;
  const svg = made("svg", { class: "wires", "aria-hidden": "true", width, height: total });
  for (const { from, to, lane } of wires) {
    const [top, bottom] = [heights[from] ?? 0, heights[to] ?? 0];
    const out = x - LANE * (lane + 1);
    const d = lane < 0 ? `M${x} ${top}V${bottom}` : `M${x} ${top}C${out} ${top} ${out} ${top} ${out} ${top + 11}V${bottom - 11}C${out} ${bottom} ${out} ${bottom} ${x} ${bottom}`;
    svg.append(made("path", { d, class: lane < 0 ? "wire" : "wire arc" }));
  }
  for (const height of heights) if (height !== null) svg.append(made("circle", { cx: x, cy: height, r: DOT }));
  return svg;
}

/** @type {(tag: string, attributes: Record<string, string | number>) => SVGElement} */
function made(tag, attributes) {
  const element = document.createElementNS(SPACE, tag);
  Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, String(value)));
  return /** @type {SVGElement} */ (element);
}
