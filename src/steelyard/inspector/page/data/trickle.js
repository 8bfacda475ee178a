// @ts-check
// What a page learns of the visible rows: in a live page their statistics, read a few at a time, in a report their details.

import { isOn, learn, learnChange } from "./weights.js";

/** @typedef {number | "both"} Side A side, or the difference of both. */
/** @typedef {{ rows(): number[], onLearn(row: number): void, onThumbs(): void, onDone(): void }} TrickleListeners */
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
/** Milliseconds after which the details of a report are unpacked: the page is to be usable before. */
const AFTER_READY = 150;
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
  if (!api.live) return soon(() => void unpack(index, api, on), AFTER_READY);
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
  return soon(() => void read(queue), PAUSE);
}

/**
 * A function that calls another once it has not been called for a while.
 * @type {(act: () => void, pause: number) => () => void}
 */
function soon(act, pause) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, pause);
  };
}

/**
 * Take the tiny pictures of visible rows from the details of a report, which are unpacked after the page is ready.
 * @type {(index: Index, api: ReportApi, on: TrickleListeners) => Promise<void>}
 */
async function unpack(index, api, on) {
  const rows = on.rows().filter((row) => !index.thumbs.of(row));
  const learned = await Promise.all(rows.map((row) => learnThumb(index, api, row)));
  if (learned.some(Boolean)) on.onThumbs();
}

/** @type {(index: Index, api: ReportApi, row: number) => Promise<boolean>} */
async function learnThumb(index, api, row) {
  try {
    index.thumbs.learn(row, await api.detail(row, isOn(index, row, 0) ? 0 : 1));
    return Boolean(index.thumbs.of(row));
  } catch {
    return false; // the details cannot be unpacked, which their panel says
  }
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
