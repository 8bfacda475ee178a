// @ts-check
// Rectangles whose areas are given, as close to squares as a simple rule makes them (Bruls, Huizing and van Wijk, 2000).

/** @typedef {{ left: number, top: number, width: number, height: number }} Box */

/**
 * The box of each area, in the given order, which descends; the boxes fill the whole box.
 * @type {(areas: number[], box: Box) => Box[]}
 */
export function squarified(areas, box) {
  const all = areas.reduce((sum, area) => sum + area, 0);
  if (!all) return areas.map(() => ({ ...box, width: 0, height: 0 }));
  const grow = (box.width * box.height) / all;
  /** @type {Box[]} */
  const made = [];
  let left = { ...box };
  for (let start = 0; start < areas.length; ) {
    const side = Math.min(left.width, left.height);
    let [stop, sum] = [start + 1, areas[start] * grow];
    while (stop < areas.length && worst(areas[start] * grow, areas[stop] * grow, sum + areas[stop] * grow, side) <= worst(areas[start] * grow, areas[stop - 1] * grow, sum, side)) {
      sum += areas[stop] * grow;
      stop += 1;
    }
    const parts = areas.slice(start, stop).map((area) => area * grow);
    left = row(parts, sum, left, made);
    start = stop;
  }
  return made;
}

/**
 * The greatest ratio of the sides of boxes in a row, by its greatest and its least area.
 * @type {(most: number, least: number, sum: number, side: number) => number}
 */
function worst(most, least, sum, side) {
  return Math.max((side * side * most) / (sum * sum), (sum * sum) / (side * side * least));
}

/**
 * Add the boxes of a row along the shorter side, and return what is left.
 * @type {(areas: number[], sum: number, box: Box, made: Box[]) => Box}
 */
function row(areas, sum, { left, top, width, height }, made) {
  const upright = width >= height;
  const thick = sum / (upright ? height : width) || 0;
  let at = upright ? top : left;
  for (const area of areas) {
    const long = area / thick || 0;
    made.push(upright ? { left, top: at, width: thick, height: long } : { left: at, top, width: long, height: thick });
    at += long;
  }
  return upright ? { left: left + thick, top, width: width - thick, height } : { left, top: top + thick, width, height: height - thick };
}
