// Tabs: one panel of several is shown; arrow keys go from tab to tab.

import { attribute, element } from "./element.js";

/** Tabs of [{key, title, make}]; a panel is made when it is first shown. `onChoose(key)` is told which. */
export function tabs(parts, chosen, onChoose) {
  const panel = element("div", { class: "tab-panel", role: "tabpanel", id: "panel", tabindex: "-1" });
  const made = new Map();
  const heads = parts.map(({ key, title }) =>
    element(
      "button",
      { type: "button", role: "tab", id: `tab-${key}`, "aria-controls": "panel", on: { click: () => choose(key) } },
      title,
    ),
  );
  const list = element("div", { class: "tabs", role: "tablist", "aria-label": "Views", on: { keydown: onKey } }, ...heads);

  function choose(key) {
    const nth = Math.max(
      0,
      parts.findIndex((part) => part.key === key),
    );
    heads.forEach((head, each) => {
      attribute(head, "aria-selected", each === nth);
      attribute(head, "tabindex", each === nth ? 0 : -1);
    });
    const part = parts[nth];
    if (!made.has(part.key)) made.set(part.key, part.make());
    panel.replaceChildren(made.get(part.key));
    attribute(panel, "aria-labelledby", `tab-${part.key}`);
    onChoose(part.key);
  }

  function onKey(event) {
    const at = heads.indexOf(document.activeElement);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: heads.length - 1 }[event.key];
    if (next === undefined) return;
    const nth = (next + heads.length) % heads.length;
    choose(parts[nth].key);
    heads[nth].focus();
    event.preventDefault();
  }

  const wanted = parts.some(({ key }) => key === chosen) ? chosen : parts[0].key;
  choose(wanted);
  return { element: element("div", { class: "tabbed" }, list, panel), choose };
}
