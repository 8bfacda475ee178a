// Figures of a live api, read for the rows in sight, a few at a time.

import { isOn, learn, learnChange } from "./weights.js";

const AT_ONCE = 2;
const PAUSE = 120;
/** Bytes up to which all weights are read, once those in sight are. */
const ALL = 2 ** 28;
const BOTH = "both";

/**
 * Return a function to call when other rows come into sight. `rows()` are those; `onLearn(row)` is told of each, `onDone()`
 * when all are read.
 */
export function trickle(index, api, on) {
  if (!api.statistics) return () => {};
  const sides = index.sources.map((_, side) => side);
  const queue = {
    index,
    api,
    on,
    asked: new Set(),
    sides: index.two && api.compare ? [...sides, BOTH] : sides,
    readsAll: index.sources.reduce((sum, side) => sum + side.bytes, 0) <= ALL,
    from: 0,
    running: 0,
    off: false,
    done: false,
  };
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(() => read(queue), PAUSE);
  };
}

async function read(queue) {
  if (queue.off || queue.running >= AT_ONCE) return;
  const found = next(queue);
  if (!found) {
    finish(queue);
    return;
  }
  queue.asked.add(found.join(" "));
  queue.running += 1;
  read(queue);
  try {
    await readOne(queue, ...found);
  } catch (error) {
    queue.off = error.status === 404;
  }
  queue.running -= 1;
  read(queue);
}

async function readOne({ index, api, on }, row, side) {
  if (side === BOTH) learnChange(index, row, await api.compare(row));
  else learn(index, row, side, await api.statistics(row, side));
  on.onLearn(row);
}

function finish(queue) {
  if (!queue.readsAll || queue.running || queue.done) return;
  queue.on.onDone();
  queue.done = true;
}

// The row and side to be read next: those in sight before all others.
function next(queue) {
  const { index, sides, on, readsAll } = queue;
  for (const row of on.rows()) {
    for (const side of sides) if (isLacking(queue, row, side)) return [row, side];
  }
  for (; readsAll && queue.from < index.count; queue.from += 1) {
    for (const side of sides) if (isLacking(queue, queue.from, side)) return [queue.from, side];
  }
  return null;
}

function isLacking({ index, asked }, row, side) {
  if (asked.has(`${row} ${side}`)) return false;
  if (side === BOTH) return index.columns.kind[row] === null;
  return isOn(index, row, side) && (index.columns.std[row] === null || !index.sparks[side].has(row));
}
