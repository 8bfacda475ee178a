// @ts-check
// The filters of the table: a text, a role, a layer, and two switches.

import { attribute, button, element } from "../draw/element.js";
import { shownName } from "../data/text.js";
import { isChanged } from "../data/weights.js";

/** @typedef {{ onChange(): void, onScope(): void }} ControlListeners */
/**
 * @typedef {{
 *   element: HTMLElement,
 *   input: HTMLInputElement,
 *   wanted(): Wanted,
 *   focus(): void,
 *   clear(): void,
 *   refresh(): void,
 *   onlyFound(): void,
 *   showSummary(summary: string, scope: Layer | null): void,
 * }} Controls
 */

/**
 * The line above the table; `onChange()` is called when it changes, `onScope()` when the layer is left.
 * @type {(index: Index, on: ControlListeners) => Controls}
 */
export function controls(index, { onChange, onScope }) {
  const text = textBox(onChange);
  const role = roleBox(index, onChange);
  const [found, changed] = [foundSwitch(index, onChange), changedSwitch(index, onChange)];
  const layer = button("", onScope, { class: "chip", hidden: true, title: "Show all layers" });
  const status = element("span", { class: "status", role: "status" });
  return {
    element: element("div", { class: "controls", role: "search" }, text, role, found, changed, layer, status),
    wanted: () => ({ text: text.value, role: role.value, found: isPressed(found), changed: isPressed(changed) }),
    focus() {
      text.focus();
      text.select();
    },
    clear() {
      text.value = "";
      onChange();
    },
    /** Count the weights with findings again, which a live page learns one by one. */
    refresh: () => countFound(index, found),
    /** Show the weights with findings. */
    onlyFound() {
      if (!isPressed(found)) found.click();
    },
    showSummary(summary, scope) {
      status.textContent = summary;
      layer.hidden = !scope;
      if (scope) layer.textContent = `${pathOf(scope)}  ×`;
    },
    input: text,
  };
}

/** @type {(onChange: () => void) => HTMLInputElement} */
function textBox(onChange) {
  return element("input", {
    type: "search",
    placeholder: "Filter names  ( / )",
    "aria-label": "Filter names",
    spellcheck: "false",
    autocomplete: "off",
    on: { input: onChange },
  });
}

/** @type {(index: Index, onChange: () => void) => HTMLSelectElement} */
function roleBox(index, onChange) {
  const roles = [...new Set(index.columns.role)].sort();
  return element(
    "select",
    { "aria-label": "Role", on: { change: onChange } },
    element("option", { value: "" }, "every role"),
    ...roles.map((word) => element("option", { value: word }, word)),
  );
}

/** @type {(index: Index, onChange: () => void) => HTMLButtonElement} */
function foundSwitch(index, onChange) {
  const made = switchOf("", onChange);
  countFound(index, made);
  return made;
}

/** @type {(index: Index, found: HTMLElement) => void} */
function countFound(index, found) {
  const count = index.worst.filter((worst) => worst >= 0).length;
  found.hidden = !count;
  found.textContent = `with findings (${count})`;
}

/**
 * A switch for changed rows; a live page does not know their number yet.
 * @type {(index: Index, onChange: () => void) => HTMLButtonElement | null}
 */
function changedSwitch(index, onChange) {
  if (!index.two) return null;
  const count = index.columns.kind.filter((_, row) => isChanged(index, row)).length;
  return switchOf(index.live ? "changed" : `changed (${count})`, onChange);
}

/** @type {(word: string, onChange: () => void) => HTMLButtonElement} */
function switchOf(word, onChange) {
  const made = button(word, () => {
    attribute(made, "aria-pressed", !isPressed(made));
    onChange();
  });
  made.setAttribute("aria-pressed", "false");
  return made;
}

/** @type {(one: Element | null) => boolean} */
function isPressed(one) {
  return one?.getAttribute("aria-pressed") === "true";
}

/** @type {(layer: Layer) => string} */
function pathOf(layer) {
  /** @type {string[]} */
  const words = [];
  for (let at = layer; at.parent; at = at.parent) words.unshift(shownName(at.label));
  return words.join(".");
}
