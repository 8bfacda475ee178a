// What runs in a report.

import { embedded } from "./data/embedded.js";
import { mount } from "./page.js";

mount(document.getElementById("page"), embedded());
