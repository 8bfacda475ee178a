// @ts-check
// The API of a source that answers questions: details that were asked for lately are kept.

/** @typedef {Record<string, string | number>} Query */
/** @typedef {<Word extends keyof Answers>(what: Word, query?: Query) => Promise<Answers[Word]>} Ask */

const KEPT = 48;

/**
 * The API of whatever answers `ask`; `download` returns the address of a file, null where there is none.
 * @type {(ask: Ask, download: LiveApi["download"]) => LiveApi}
 */
export function live(ask, download) {
  /** @type {Map<string, Promise<Detail>>} */
  const details = new Map();

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
    net: async (view) => /** @type {any} */ (await ask("net", { view })),
    detail,
    statistics: (row, side) => ask("statistics", { row, side }),
    heads: (row, side, count) => ask("heads", { row, side, count }),
    picture: async (row, side, window, height, width) =>
      (await ask("picture", { row, side, ...sides(window), height, width })).picture,
    values: async (row, side, window) => (await ask("values", { row, side, ...sides(window) })).texts,
    compare: (row) => ask("compare", { row }),
    download,
  };
}

/** @type {(window: MatrixWindow) => Query} */
function sides([top, left, bottom, right]) {
  return { top, left, bottom, right };
}
