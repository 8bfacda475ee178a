// @ts-check
// The entry of a page in a notebook, which gets a port to its kernel from the cell that shows it.

import { messages } from "./data/messages.js";
import { button } from "./draw/element.js";
import { mount } from "./page.js";

addEventListener("message", connected);

/** @type {(event: MessageEvent) => void} */
function connected({ data, ports: [port] }) {
  if (data !== "steelyard" || !port) return;
  removeEventListener("message", connected);
  show(port);
}

/** @type {(port: MessagePort) => Promise<void>} */
async function show(port) {
  const main = /** @type {HTMLElement} */ (document.getElementById("page"));
  await mount(main, messages(port));
  const again = button("Refresh", () => port.postMessage({ what: "refresh" }), { title: "Show the numbers as they are now" });
  main.querySelector(".page-head")?.append(again);
}
