// Figures of a live source, read for the rows in sight, a few at a time.

import { isOn, learn, learnChange } from "./weights.js";

const AT_ONCE = 2;
const PAUSE = 120;
/** Bytes up to which all weights are read, once those in sight are. */
const ALL = 2 ** 28;

const BOTH = "both";

/** Return a function to call when other rows come into sight. `rows()` are those; `onLearn(row)` is told of each, `onDone()` when all are read. */
export function trickle(index, source, { rows, onLearn, onDone }) {
  if (!source.figures) return () => {};
  const asked = new Set();
  let running = 0;
  let timer = 0;
  let off = false;
  let done = false;

  const sides = index.sides.map((_, side) => side);
  const small = index.sides.reduce((sum, side) => sum + side.bytes, 0) <= ALL;
  const both = index.two && source.compare ? [...sides, BOTH] : sides;
  let from = 0;
  const lacking = (row, side) =>
    side === BOTH
      ? index.columns.kind[row] === null && !asked.has(`${row} ${side}`)
      : isOn(index, row, side) &&
        !asked.has(`${row} ${side}`) &&
        (index.columns.std[row] === null || !index.sparks[side].has(row));

  function next() {
    for (const row of rows()) {
      for (const side of both) if (lacking(row, side)) return [row, side];
    }
    for (; small && from < index.count; from += 1) {
      for (const side of both) if (lacking(from, side)) return [from, side];
    }
    return null;
  }

  async function read() {
    if (off || running >= AT_ONCE) return;
    const found = next();
    if (!found) {
      if (small && !running && !done) onDone();
      done ||= small && !running;
      return;
    }
    const [row, side] = found;
    asked.add(`${row} ${side}`);
    running += 1;
    read();
    try {
      if (side === BOTH) learnChange(index, row, await source.compare(row));
      else learn(index, row, side, await source.figures(row, side));
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
