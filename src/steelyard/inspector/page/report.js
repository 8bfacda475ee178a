// @ts-check
// The entry of a report.

import { embedded } from "./data/embedded.js";
import { mount } from "./page.js";

mount(/** @type {HTMLElement} */ (document.getElementById("page")), embedded());
