// What narrows the table: a text, a role, a layer, and two switches.

import { attribute, button, element } from "./element.js";
import { shownName } from "./text.js";
import { isChanged } from "./weights.js";

/** The line above the table. `onChange()` is called when it changes, `onScope()` when the layer is left. */
export function controls(index, { onChange, onScope }) {
  const text = element("input", {
    type: "search",
    placeholder: "Filter names  ( / )",
    "aria-label": "Filter names",
    spellcheck: "false",
    autocomplete: "off",
    on: { input: onChange },
  });
  const roles = [...new Set(index.columns.role)].sort();
  const role = element(
    "select",
    { "aria-label": "Role", on: { change: onChange } },
    element("option", { value: "" }, "every role"),
    ...roles.map((word) => element("option", { value: word }, word)),
  );
  const held = index.found.filter(Boolean).length;
  const differ = index.two ? index.columns.kind.filter((_, row) => isChanged(index, row)).length : 0;
  const found = held ? toggle(`with findings (${held})`) : null;
  const changed = index.two ? toggle(index.live ? "changed" : `changed (${differ})`) : null;
  const layer = button("", onScope, { class: "chip", hidden: true, title: "Show all layers" });
  const told = element("span", { class: "told", role: "status" });

  function toggle(word) {
    const made = button(word, () => {
      attribute(made, "aria-pressed", made.getAttribute("aria-pressed") !== "true");
      onChange();
    });
    made.setAttribute("aria-pressed", "false");
    return made;
  }

  const pressed = (one) => one?.getAttribute("aria-pressed") === "true";
  return {
    element: element("div", { class: "controls", role: "search" }, text, role, found, changed, layer, told),
    wanted: () => ({ text: text.value, role: role.value, found: pressed(found), changed: pressed(changed) }),
    focus() {
      text.focus();
      text.select();
    },
    clear() {
      text.value = "";
      onChange();
    },
    tell(summary, scope) {
      told.textContent = summary;
      layer.hidden = !scope;
      if (scope) layer.textContent = `${pathOf(scope)}  ×`;
    },
    input: text,
  };
}

function pathOf(layer) {
  const words = [];
  for (let at = layer; at.parent; at = at.parent) words.unshift(shownName(at.label));
  return words.join(".");
}
