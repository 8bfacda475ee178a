// @ts-check
// The entry of the report of a run.

import { opened } from "../data/pack.js";
import { mount } from "./page.js";

mount(
  /** @type {HTMLElement} */ (document.getElementById("page")),
  async () => opened(document.getElementById("run-pack")?.textContent ?? ""),
  false,
);
