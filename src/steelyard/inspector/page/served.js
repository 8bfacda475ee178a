// @ts-check
// The entry of a page of the local server.

import { http } from "./data/http.js";
import { mount } from "./page.js";

mount(/** @type {HTMLElement} */ (document.getElementById("page")), http());
