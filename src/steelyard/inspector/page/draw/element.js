// @ts-check
// Elements of the page. Whatever comes from a file gets in as text only.

/** @typedef {{ [Name in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[Name]) => void }} Listeners */
/** @typedef {Record<string, string | number | boolean | null | undefined | Listeners>} Attributes */

/**
 * Make an element: `on` are listeners, true an empty attribute, null and false none; children are nodes or text.
 * @type {<Tag extends keyof HTMLElementTagNameMap>(tag: Tag, attributes?: Attributes, ...children: Child[]) => HTMLElementTagNameMap[Tag]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && typeof value === "object") listen(made, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, String(value));
  }
  made.append(...present(children));
  return made;
}

/** @type {(node: HTMLElement, listeners: Listeners) => void} */
function listen(node, listeners) {
  for (const [event, listener] of Object.entries(listeners)) {
    node.addEventListener(event, /** @type {EventListener} */ (listener));
  }
}

/**
 * Put children in the place of those that an element has.
 * @type {(node: Element, ...children: Child[]) => void}
 */
export function replace(node, ...children) {
  node.replaceChildren(...present(children));
}

/** @type {(children: Child[]) => (Node | string)[]} */
function present(children) {
  return children.flatMap((child) => (child || child === "" ? [child] : []));
}

/**
 * Set or remove an attribute, and touch the page only where it changes.
 * @type {(node: Element, key: string, value: string | number | boolean | null | undefined) => void}
 */
export function attribute(node, key, value) {
  if (value === null || value === undefined) node.removeAttribute(key);
  else if (node.getAttribute(key) !== String(value)) node.setAttribute(key, String(value));
}

/**
 * Two spans of a name: the first is cut with an ellipsis where it is narrow, the second, the end, is not.
 * @type {() => HTMLElement}
 */
export function nameElement() {
  return element("span", { class: "name" }, element("span", { class: "head" }), element("span", { class: "tail" }));
}

/**
 * Write a name into the spans: names of layers differ most at their ends, of which as many words are kept as are short.
 * @type {(spans: HTMLElement, text: string) => void}
 */
export function writeName(spans, text) {
  const tail = text.length <= 24 ? 0 : (/(?<=[./]).{6,18}$/s.exec(text)?.[0].length ?? 16);
  spans.children[0].textContent = text.slice(0, text.length - tail);
  spans.children[1].textContent = text.slice(text.length - tail);
  spans.style.setProperty("--tail", `${tail}ch`);
  spans.title = text;
}

/**
 * What went wrong, in words.
 * @type {(error: unknown) => string}
 */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * A button with a word on it.
 * @type {(text: string, onClick: () => void, attributes?: Attributes) => HTMLButtonElement}
 */
export function button(text, onClick, attributes = {}) {
  return element("button", { type: "button", ...attributes, on: { click: onClick } }, text);
}
