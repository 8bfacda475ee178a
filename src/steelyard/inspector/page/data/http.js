// The api of a local server: every answer is a pack, asked for when it is needed.

import { unpack } from "./pack.js";

const KEPT = 48;

/** The weights that a server shows, below the address of the page. */
export function http() {
  const details = new Map();

  async function ask(what, query = {}) {
    const answer = await fetch(addressOf(what, query));
    if (!answer.ok) throw Object.assign(new Error(await reasonOf(answer)), { status: answer.status });
    return unpack(await answer.arrayBuffer());
  }

  function detail(row, side) {
    const key = `${row} ${side}`;
    const found = details.get(key) ?? ask("detail", { row, side });
    details.delete(key);
    details.set(key, found);
    found.catch(() => details.delete(key));
    if (details.size > KEPT) details.delete(details.keys().next().value);
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

function sides([top, left, bottom, right]) {
  return { top, left, bottom, right };
}

function addressOf(what, query) {
  const address = new URL(`api/${what}`, location.href);
  Object.entries(query).forEach(([key, value]) => address.searchParams.set(key, value));
  return address.href;
}

async function reasonOf(answer) {
  const told = await answer.json().catch(() => ({}));
  return told.error ?? `the server answers ${answer.status}`;
}
