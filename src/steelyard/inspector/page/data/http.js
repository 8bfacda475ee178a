// @ts-check
// The API of a local server: every answer is a pack, requested when it is needed.

import { live } from "./live.js";
import { unpack } from "./pack.js";

/** @typedef {import("./live.js").Query} Query */

/**
 * The API of the server that sent this page.
 * @type {() => LiveApi}
 */
export function http() {
  /** @type {import("./live.js").Ask} */
  async function ask(what, query = {}) {
    const answer = await fetch(addressOf(what, query));
    if (!answer.ok) throw Object.assign(new Error(await reasonOf(answer)), { status: answer.status });
    return unpack(await answer.arrayBuffer());
  }

  return live(ask, (row, side, format) => addressOf("download", row === null ? { side, format } : { side, row, format }));
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
