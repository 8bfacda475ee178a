// @ts-check
// Elements of the page. Content of a file only ever becomes text, never markup.

/** @typedef {{ [Name in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[Name]) => void }} Listeners */
/** @typedef {Record<string, string | number | boolean | null | undefined | Listeners>} Attributes */

/**
 * Make an element. As attributes, true is an empty one, null and false are left out, and `on` has listeners; children are nodes
 * or text, and blanks are left out.
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
 * Replace the children of an element.
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
 * Set or remove an attribute; an unchanged one is not touched, which spares the browser work.
 * @type {(node: Element, key: string, value: string | number | boolean | null | undefined) => void}
 */
export function attribute(node, key, value) {
  if (value === null || value === undefined) node.removeAttribute(key);
  else if (node.getAttribute(key) !== String(value)) node.setAttribute(key, String(value));
}

/**
 * Three spans for a name: where there is little room, the first, which all names share, is cut with an ellipsis, then the second;
 * the third, its end, is kept.
 * @type {() => HTMLElement}
 */
export function nameElement() {
  return element("span", { class: "name" }, ...["shared", "head", "tail"].map((part) => element("span", { class: part })));
}

/**
 * Write a name into its spans; all names share its first `shared` letters. Names of layers differ most at their ends, so of one
 * that may not fit the last short words are kept.
 * @type {(spans: HTMLElement, text: string, shared?: number, tail?: number) => void}
 */
export function writeName(spans, text, shared = 0, tail = tailOf(text)) {
  const head = Math.min(shared, text.length - tail);
  [text.slice(0, head), text.slice(head, text.length - tail), text.slice(text.length - tail)].forEach((part, nth) => {
    spans.children[nth].textContent = part;
  });
  spans.style.setProperty("--tail", `${tail + (head ? 2 : 0)}ch`);
  spans.title = text;
}

/** @type {(text: string) => number} */
function tailOf(text) {
  return text.length <= 24 ? 0 : (/(?<=[./]).{6,18}$/s.exec(text)?.[0].length ?? 16);
}

/**
 * The message of an error.
 * @type {(error: unknown) => string}
 */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * A button with a word or a sign on it.
 * @type {(text: string, onClick: () => void, attributes?: Attributes) => HTMLButtonElement}
 */
export function button(text, onClick, attributes = {}) {
  return element("button", { type: "button", ...attributes, on: { click: onClick } }, text);
}
