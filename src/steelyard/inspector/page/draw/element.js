// Elements of the page. Whatever comes from a file gets in as text only.

/** Make an element: `on` are listeners, true an empty attribute, null and false none; children are nodes or text. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") Object.entries(value).forEach(([event, listener]) => made.addEventListener(event, listener));
    else if (value === true) made.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, String(value));
  }
  made.append(...present(children));
  return made;
}

/** Put children in the place of those that an element has. */
export function replace(node, ...children) {
  node.replaceChildren(...present(children));
}

function present(children) {
  return children.filter((child) => child !== null && child !== undefined && child !== false);
}

/** Set or remove an attribute, and touch the page only where it changes. */
export function attribute(node, key, value) {
  if (value === null || value === undefined) node.removeAttribute(key);
  else if (node.getAttribute(key) !== String(value)) node.setAttribute(key, String(value));
}

/** Two spans of a name: the first is cut with an ellipsis where it is narrow, the second, the end, is not. */
export function nameElement() {
  return element("span", { class: "name" }, element("span", { class: "head" }), element("span", { class: "tail" }));
}

/** Write a name into the spans: names of layers differ most at their ends, of which as many words are kept as are short. */
export function writeName(spans, text) {
  const tail = text.length <= 24 ? 0 : (/(?<=[./]).{6,18}$/s.exec(text)?.[0].length ?? 16);
  spans.firstChild.textContent = text.slice(0, text.length - tail);
  spans.lastChild.textContent = text.slice(text.length - tail);
  spans.style.setProperty("--tail", `${tail}ch`);
  spans.title = text;
}

/** A button with a word on it. */
export function button(text, onClick, attributes = {}) {
  return element("button", { type: "button", ...attributes, on: { click: onClick } }, text);
}
