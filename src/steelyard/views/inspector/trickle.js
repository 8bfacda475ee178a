// Figures of a live source, read for the rows in sight, a few at a time.

import { isOn, learn } from "./weights.js";

const AT_ONCE = 2;
const PAUSE = 120;

/** Return a function to call when other rows come into sight. `rows()` are those; `onLearn(row)` is told of each. */
export function trickle(index, source, { rows, onLearn }) {
  if (!source.figures) return () => {};
  const asked = new Set();
  let running = 0;
  let timer = 0;
  let off = false;

  const sides = index.sides.map((_, side) => side);
  const lacking = (row, side) => isOn(index, row, side) && !asked.has(`${row} ${side}`) && (index.columns.std[row] === null || !index.sparks[side].has(row));

  function next() {
    for (const row of rows()) {
      for (const side of sides) if (lacking(row, side)) return [row, side];
    }
    return null;
  }

  async function read() {
    const found = off || running >= AT_ONCE ? null : next();
    if (!found) return;
    const [row, side] = found;
    asked.add(`${row} ${side}`);
    running += 1;
    read();
    try {
      learn(index, row, side, await source.figures(row, side));
      onLearn(row);
    } catch (error) {
      off = error.status === 404;
    }
    running -= 1;
    read();
  }

  return () => {
    clearTimeout(timer);
    timer = setTimeout(read, PAUSE);
  };
}
