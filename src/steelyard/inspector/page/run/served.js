// @ts-check
// The entry of the page of a run on the local server.

import { unpack } from "../data/pack.js";
import { mount } from "./page.js";

mount(
  /** @type {HTMLElement} */ (document.getElementById("page")),
  async (known) => {
    const address = new URL("api/run", location.href);
    if (known >= 0) address.searchParams.set("known", String(known));
    const answer = await fetch(address);
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `the server answers ${answer.status}`);
    return /** @type {{ run: RunRecord | null }} */ (unpack(await answer.arrayBuffer())).run;
  },
  true,
);
