// The api of a report: packs that stand in the page itself.

import { opened } from "./pack.js";

/** The weights of a report. Details are opened when they are first asked for: they are most of the page. */
export function embedded() {
  let details = null;

  async function read(id) {
    const holder = document.getElementById(id);
    const found = await opened(holder.textContent);
    holder.remove();
    return found;
  }

  async function detail(row, side) {
    details ??= parsed().then(() => read("details-pack"));
    return (await details).details[row][side];
  }

  return {
    live: false,
    index: () => read("index-pack"),
    detail,
    statistics: null,
    picture: null,
    values: null,
    compare: null,
    download: () => null,
  };
}

function parsed() {
  if (document.readyState !== "loading") return Promise.resolve();
  return new Promise((done) => document.addEventListener("DOMContentLoaded", done, { once: true }));
}
