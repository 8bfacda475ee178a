// @ts-check
// The head of the page: the sources, the index box, notes, downloads.

import { faultsOf } from "./faults.js";
import { element } from "../draw/element.js";
import { found } from "../data/place.js";
import { bytesText, counted, shownName } from "../data/text.js";

/**
 * @typedef {{
 *   onFound(place: Place): void,
 *   onAll(): void,
 *   downloads: ((side: number) => HTMLElement[]) | null,
 * }} HeaderListeners
 */
/** @typedef {{ element: HTMLElement, focus(): void, refresh(): void }} Header */

/**
 * The head; `onFound(place)` is called for a place from the index box, and `downloads(side)` returns links to all weights.
 * @type {(index: Index, names: string[], on: HeaderListeners) => Header}
 */
export function headerOf(index, names, { onFound, onAll, downloads }) {
  const input = element("input", {
    type: "text",
    id: "place",
    placeholder: "fc1.weight[3, 7]  or  1234",
    spellcheck: "false",
    autocomplete: "off",
    "aria-describedby": "place-status",
    "aria-label": "Go to an index or an entry",
  });
  const status = element("p", { class: "status", id: "place-status", role: "status" });
  const form = element("form", { class: "place-box", on: { submit } }, element("label", { for: "place" }, "Go to"), input, status);

  /** @type {(event: Event) => void} */
  function submit(event) {
    event.preventDefault();
    const answer = found(index, input.value);
    const refused = "error" in answer;
    status.textContent = refused ? shownName(answer.error) : "";
    input.toggleAttribute("aria-invalid", refused);
    if (!refused) onFound(answer);
  }

  document.title = `${names.join(" compared with ")} \u00b7 Steelyard`;
  const sides = index.sources.map((source, nth) => sideElement(index, source, names[nth], nth));
  const faults = faultsOf(index, { onFound, onAll });
  return {
    element: element(
      "header",
      { class: "page-head" },
      element("div", { class: "brand" }, scales(), element("span", {}, "Steelyard")),
      element("div", { class: "sides" }, ...sides),
      form,
      downloads && downloadMenu(index, names, downloads),
      element("div", { class: "second" }, faults.element, notesElement(index)),
    ),
    refresh: faults.refresh,
    focus() {
      input.focus();
      input.select();
    },
  };
}

/**
 * Distinct names of the sources: the last part of a path if that is enough.
 * @type {(index: Index) => string[]}
 */
export function sideNames(index) {
  const whole = index.sources.map(({ name }) => shownName(name));
  const last = whole.map((name) => name.split(/[\\/]/).filter(Boolean).pop() ?? name);
  const names = new Set(last).size === last.length ? last : whole;
  return new Set(names).size === names.length ? names : names.map((name, nth) => `${name} (${["after", "before"][nth]})`);
}

/** @type {(index: Index, source: SourceRecord, name: string, nth: number) => HTMLElement} */
function sideElement({ two, headline, changed }, source, name, nth) {
  const facts = [
    counted(source.weights, "weight"),
    source.amount,
    bytesText(source.bytes),
    source.tied ? `${source.tied} tied` : "",
  ];
  return element(
    "div",
    { class: "side", title: shownName(source.name) },
    two && element("span", { class: `key key-${nth}`, "aria-hidden": "true" }),
    nth === 0 ? element("h1", {}, name) : element("span", { class: "older" }, `compared with ${name}`),
    element("span", { class: "amounts" }, (nth === 0 ? headline : changed) || facts.filter(Boolean).join("  ·  ")),
  );
}

/** @type {(index: Index, names: string[], downloads: (side: number) => HTMLElement[]) => HTMLElement} */
function downloadMenu(index, names, downloads) {
  const lines = index.sources.map((_, side) => element("span", {}, `All of ${names[side]}`, ...downloads(side)));
  return element("details", { class: "menu" }, element("summary", {}, "Download"), element("p", {}, ...lines));
}

/** @type {(index: Index) => HTMLElement | null} */
function notesElement(index) {
  const general = index.findings.filter(({ name }) => name === null);
  const runs = general.filter(({ kind, severity }) => kind === "code" && severity === "error");
  const others = general.filter((finding) => !runs.includes(finding)).map(({ what }) => what);
  const notes = [...index.notes, ...index.sources.flatMap(({ notes: own }) => own ?? []), ...others];
  if (!runs.length && !notes.length) return null;
  const warnings = runs.slice(0, 50).map(({ what }) => element("li", { class: "runs" }, shownName(what)));
  return element(
    "details",
    { class: "notes", open: runs.length > 0 }, // what would run is not to be overlooked
    element("summary", {}, counted(runs.length + notes.length, "note")),
    element("ul", {}, ...warnings, ...notes.slice(0, 50).map((note) => element("li", {}, shownName(note)))),
  );
}

/**
 * A steelyard: a beam with one long arm, a hook and a weight that slides.
 * @type {() => SVGElement}
 */
function scales() {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  made.setAttribute("viewBox", "0 0 26 20");
  made.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute(
    "d",
    "M1 6.2 25 4.4M6 1v4.8M2.6 6.1v4.4M0.8 10.5h3.6a1.8 1.8 0 0 1-3.6 0ZM19 4.9v3.2M16.6 8.1h4.8l1 5.4h-6.8Z",
  );
  made.append(path);
  return made;
}
