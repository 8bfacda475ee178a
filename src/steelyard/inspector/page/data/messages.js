// @ts-check
// The API of a page in a notebook: every answer is a pack, which the notebook's kernel sends through a port.

import { live } from "./live.js";
import { unpack } from "./pack.js";

/** @typedef {{ id: number, error?: string, status?: number, pack?: ArrayBuffer }} Answer */

/**
 * The API of the kernel at the other end of a port.
 * @type {(port: MessagePort) => LiveApi}
 */
export function messages(port) {
  /** @type {Map<number, { done(pack: ArrayBuffer): void, failed(error: Error): void }>} */
  const waiting = new Map();
  let asked = 0;

  port.onmessage = (/** @type {MessageEvent<Answer>} */ { data: { id, error, status, pack } }) => {
    const question = waiting.get(id);
    waiting.delete(id);
    if (pack) question?.done(pack);
    else question?.failed(Object.assign(new Error(error), { status }));
  };

  /** @type {import("./live.js").Ask} */
  async function ask(what, query = {}) {
    const id = (asked += 1);
    /** @type {Promise<ArrayBuffer>} */
    const answer = new Promise((done, failed) => waiting.set(id, { done, failed }));
    port.postMessage({ id, what, query });
    return unpack(await answer);
  }

  return live(ask, null);
}
