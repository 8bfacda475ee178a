// @ts-check
// The page of a run: a slider of steps, the weights, and pictures of the chosen one at that step.

import { keepDrawn } from "../draw/canvas.js";
import { attribute, element, messageOf, replace } from "../draw/element.js";
import { drawCurve } from "./curve.js";
import { shortly } from "./numbers.js";
import { drawPath } from "./path.js";
import { drawRidge, histogramAt } from "./ridge.js";

const POLL = 2000;
/** The most rows of the table. */
const MOST = 2000;

/**
 * Show a run in an element. A live one is asked for more every two seconds, and the slider stays at its end if it was there.
 * @type {(holder: HTMLElement, load: LoadRun, live: boolean) => Promise<void>}
 */
export async function mount(holder, load, live) {
  try {
    const first = await load(-1);
    if (!first) throw new Error("there is no run");
    const view = shown(holder, first);
    holder.dataset.ready = "";
    if (live) follow(load, view);
  } catch (error) {
    replace(holder, element("p", { class: "trouble" }, messageOf(error)));
  }
}

/** @typedef {{ count(): number, update(run: RunRecord): void, say(text: string): void }} View */

/** @type {(load: LoadRun, view: View) => void} */
function follow(load, view) {
  setTimeout(async () => {
    try {
      const found = document.hidden ? null : await load(view.count());
      if (found) view.update(found);
      view.say("");
    } catch (error) {
      view.say(messageOf(error));
    }
    follow(load, view);
  }, POLL);
}

/** @type {(holder: HTMLElement, first: RunRecord) => View} */
function shown(holder, first) {
  let run = first;
  let weight = largest(run);
  const head = element("header", { class: "run-head" });
  const slider = element("input", { type: "range", min: 0, id: "step", on: { input: () => draw() } });
  const readout = element("output", { for: "step" });
  const trouble = element("p", { class: "trouble", hidden: true, role: "status" });
  const bar = element("div", { class: "run-bar" }, element("label", { for: "step" }, "step"), slider, readout);
  const table = element("div", { class: "run-weights" });
  const pictures = element("div", { class: "run-pictures" });
  replace(holder, head, trouble, bar, element("div", { class: "run-body" }, table, pictures));
  holder.classList.add("run");
  /** @type {(() => void)[]} */
  let redraws = [];
  /** @type {(() => void)[]} */
  let rewrites = [];

  /** @type {() => number} */
  const at = () => Math.min(Number(slider.value), run.records - 1);

  function draw() {
    const nth = at();
    const facts = [run.steps[nth].toLocaleString("en")];
    const epoch = run.epochs[nth];
    if (epoch !== null) facts.push(`epoch ${shortly(epoch)}`);
    for (const { name, values } of run.metrics) if (Number.isFinite(values[nth])) facts.push(`${name} ${shortly(values[nth])}`);
    readout.textContent = facts.join("  ·  ");
    for (const each of [...rewrites, ...redraws]) each();
  }

  /** @type {(title: string, paint: (canvas: HTMLCanvasElement, width: number) => void, caption: () => string) => HTMLElement} */
  function picture(title, paint, caption) {
    const canvas = element("canvas", { role: "img" });
    const text = element("figcaption", {});
    const made = element("figure", {}, element("h2", {}, title), canvas, text);
    let width = 0;
    const again = () => {
      text.textContent = caption();
      attribute(canvas, "aria-label", `${title}: ${text.textContent}`);
      if (width > 0) paint(canvas, width);
    };
    keepDrawn(made, (across) => {
      width = across;
      again();
    });
    redraws.push(again);
    return made;
  }

  /** @type {(band: number[] | undefined) => string} */
  const usual = (band) => (band ? `; ${band.map((value) => shortly(value)).join(" to ")} is usual for steps of an optimizer` : "");

  /** @type {(values: ArrayLike<number>) => number[]} */
  const column = (values) => Array.from(run.steps, (_, nth) => values[nth * run.names.length + weight]);

  function lay() {
    redraws = [];
    const name = run.names[weight];
    /** @type {Curve[]} */
    const curves = [
      { label: `norm of ${name}`, values: column(run.norms), log: true },
      { label: `update ratio of ${name}`, values: column(run.ratios), log: true, band: run.band },
      ...run.metrics.map(({ name: metric, values }) => ({ label: metric, values, log: false })),
    ];
    const share = run.path.shares.map((part) => `${Math.round(100 * part)}%`).join(" and ");
    const ridge = picture(
      `distribution of ${name}`,
      (canvas, width) => drawRidge(canvas, width, run, weight, at()),
      () => `record of step ${run.steps[run.histograms.rows[histogramAt(run.histograms.rows, at())]]}, over the outline of the first`,
    );
    const path = picture(
      "path of all weights",
      (canvas, width) => drawPath(canvas, width, run.path.points, at()),
      () => `two principal components, ${share} of the variance`,
    );
    const lines = curves.map((curve) =>
      picture(
        curve.label,
        (canvas, width) => drawCurve(canvas, width, run.steps, curve, at()),
        () => `${shortly(curve.values[at()]) || "none"}${usual(curve.band)}`,
      ),
    );
    replace(pictures, ridge, path, ...lines);
  }

  function list() {
    rewrites = [];
    const rows = run.names.slice(0, MOST).map((name, nth) => {
      const norm = element("td", { class: "number" });
      const ratio = element("td", { class: "number" });
      const choose = () => {
        weight = nth;
        list();
        lay();
        draw();
      };
      rewrites.push(() => {
        norm.textContent = shortly(run.norms[at() * run.names.length + nth]);
        ratio.textContent = shortly(run.ratios[at() * run.names.length + nth]);
      });
      const label = element("button", { type: "button", "aria-pressed": String(nth === weight), on: { click: choose } }, name);
      return element("tr", { class: nth === weight ? "chosen" : "" }, element("td", {}, label), element("td", {}, run.shapes[nth].join("×")), norm, ratio);
    });
    const heads = ["weight", "shape", "norm", "ratio"].map((word, nth) => element("th", { scope: "col", class: nth > 1 ? "number" : "" }, word));
    const focus = table.contains(document.activeElement);
    const left = run.names.length - rows.length;
    replace(
      table,
      element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)),
      left > 0 ? element("p", {}, `and ${left.toLocaleString("en")} more weights`) : null,
    );
    if (focus) /** @type {HTMLElement | null} */ (table.querySelector("[aria-pressed=true]"))?.focus();
  }

  /** @type {(found: RunRecord) => void} */
  function update(found) {
    const isLast = !slider.max || Number(slider.value) >= Number(slider.max);
    run = found;
    weight = Math.min(weight, run.names.length - 1);
    slider.max = String(run.records - 1);
    if (isLast) slider.value = slider.max;
    const alarms = run.alarms.map((alarm) => element("p", { class: "trouble" }, alarm));
    replace(head, element("h1", {}, run.title), element("p", {}, run.sentence), ...run.notes.map((note) => element("p", {}, note)), ...alarms);
    list();
    lay();
    draw();
  }

  update(first);
  return {
    count: () => run.known,
    update,
    say(text) {
      trouble.textContent = text;
      trouble.hidden = !text;
    },
  };
}

/** @type {(run: RunRecord) => number} */
function largest(run) {
  const sizes = run.shapes.map((shape, nth) => (run.roles[nth].includes("kernel") ? 1e9 : 1) * shape.reduce((size, length) => size * length, 1));
  return sizes.indexOf(Math.max(...sizes));
}
