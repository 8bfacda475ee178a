// @ts-check
// The API of a local server: every answer is a pack, requested when it is needed.

import { unpack } from "./pack.js";

/** @typedef {Record<string, string | number>} Query */

const KEPT = 48;

/**
 * The API of the server that sent this page.
 * @type {() => LiveApi}
 */
export function http() {
  /** @type {Map<string, Promise<Detail>>} */
  const details = new Map();

  /** @type {<Word extends keyof Answers>(what: Word, query?: Query) => Promise<Answers[Word]>} */
  async function ask(what, query = {}) {
    const answer = await fetch(addressOf(what, query));
    if (!answer.ok) throw Object.assign(new Error(await reasonOf(answer)), { status: answer.status });
    return unpack(await answer.arrayBuffer());
  }

  /** @type {(row: number, side: number) => Promise<Detail>} */
  function detail(row, side) {
    const key = `${row} ${side}`;
    const found = details.get(key) ?? ask("detail", { row, side });
    details.delete(key);
    details.set(key, found);
    found.catch(() => details.delete(key));
    if (details.size > KEPT) details.delete([...details.keys()][0]);
    return found;
  }

  return {
    live: true,
    index: () => ask("index"),
    detail,
    statistics: (row, side) => ask("statistics", { row, side }),
    picture: async (row, side, window, height, width) =>
      (await ask("picture", { row, side, ...sides(window), height, width })).picture,
    values: async (row, side, window) => (await ask("values", { row, side, ...sides(window) })).texts,
    compare: (row) => ask("compare", { row }),
    download: (row, side, format) => addressOf("download", row === null ? { side, format } : { side, row, format }),
  };
}

/** @type {(window: MatrixWindow) => Query} */
function sides([top, left, bottom, right]) {
  return { top, left, bottom, right };
}

/** @type {(what: string, query: Query) => string} */
function addressOf(what, query) {
  const address = new URL(`api/${what}`, location.href);
  Object.entries(query).forEach(([key, value]) => address.searchParams.set(key, String(value)));
  return address.href;
}

/** @type {(answer: Response) => Promise<string>} */
async function reasonOf(answer) {
  const reply = await answer.json().catch(() => ({}));
  return reply.error ?? `the server answers ${answer.status}`;
}
