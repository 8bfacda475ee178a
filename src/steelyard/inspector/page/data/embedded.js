// @ts-check
// The API of a report: packs in the page itself.

import { opened } from "./pack.js";

/**
 * The API of a report. The details, most of the page, are unpacked when they are first needed.
 * @type {() => ReportApi}
 */
export function embedded() {
  /** @type {Promise<{ details: (Detail | null)[][], left_out?: string }> | null} */
  let details = null;
  /** @type {Promise<NetRecords> | null} */
  let net = null;

  /** @type {<Content>(id: string) => Promise<Content>} */
  async function read(id) {
    const holder = document.getElementById(id);
    if (!holder?.textContent) throw new Error(`the report has no ${id}`);
    const { textContent } = holder;
    holder.remove();
    return opened(textContent);
  }

  /** @type {(row: number, side: number) => Promise<Detail>} */
  async function detail(row, side) {
    details ??= parsed().then(() => read("details-pack"));
    const held = await details;
    return held.details[row][side] ?? { left_out: held.left_out ?? "the report has no details of this weight" };
  }

  return {
    live: false,
    index: () => read("index-pack"),
    async net(view) {
      net ??= parsed().then(() => read("net-pack"));
      return (await net)[view];
    },
    detail,
    statistics: null,
    heads: null,
    picture: null,
    values: null,
    compare: null,
    download: null,
  };
}

/** @type {() => Promise<void>} */
function parsed() {
  if (document.readyState !== "loading") return Promise.resolve();
  return new Promise((done) => document.addEventListener("DOMContentLoaded", () => done(), { once: true }));
}
