// @ts-check
// The statistics of a live page, read for the visible rows, a few at a time.

import { isOn, learn, learnChange } from "./weights.js";

/** @typedef {number | "both"} Side A side, or the difference of both. */
/** @typedef {{ rows(): number[], onLearn(row: number): void, onDone(): void }} TrickleListeners */
/**
 * @typedef {{
 *   index: Index,
 *   api: LiveApi,
 *   on: TrickleListeners,
 *   asked: Set<string>,
 *   sides: Side[],
 *   readsAll: boolean,
 *   from: number,
 *   running: number,
 *   off: boolean,
 *   done: boolean,
 * }} Queue
 */

const AT_ONCE = 2;
const PAUSE = 120;
/** In files up to this many bytes, all other weights are read after the visible ones. */
const ALL = 2 ** 28;
/** @type {"both"} */
const BOTH = "both";

/**
 * Return a function to call when other rows become visible. `rows()` returns the visible ones; `onLearn(row)` is called for
 * each, and `onDone()` when all have been read.
 * @type {(index: Index, api: Api, on: TrickleListeners) => () => void}
 */
export function trickle(index, api, on) {
  if (!api.live) return () => {};
  const sides = index.sources.map((_, side) => side);
  /** @type {Queue} */
  const queue = {
    index,
    api,
    on,
    asked: new Set(),
    sides: index.two ? [...sides, BOTH] : sides,
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

/** @type {(queue: Queue) => Promise<void>} */
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
    queue.off = /** @type {Error & { status?: number }} */ (error).status === 404;
  }
  queue.running -= 1;
  read(queue);
}

/** @type {(queue: Queue, row: number, side: Side) => Promise<void>} */
async function readOne({ index, api, on }, row, side) {
  if (side === BOTH) learnChange(index, row, await api.compare(row));
  else learn(index, row, side, await api.statistics(row, side));
  on.onLearn(row);
}

/** @type {(queue: Queue) => void} */
function finish(queue) {
  if (!queue.readsAll || queue.running || queue.done) return;
  queue.on.onDone();
  queue.done = true;
}

/**
 * The row and side to read next: the visible ones come first.
 * @type {(queue: Queue) => [row: number, side: Side] | null}
 */
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

/** @type {(queue: Queue, row: number, side: Side) => boolean} */
function isLacking({ index, asked }, row, side) {
  if (asked.has(`${row} ${side}`)) return false;
  if (side === BOTH) return index.columns.kind[row] === null;
  return isOn(index, row, side) && (index.columns.std[row] === null || !index.sparks[side].has(row));
}
