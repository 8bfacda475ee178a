// The columns of the table: what each is called, how it is written, and what it is sorted by.

import { ranks } from "./order.js";
import { rounded, shapeText, short, whole } from "./text.js";

/** What has no partner of its shape has changed most. */
const APART = ["added", "removed", "shape"];
/** Pixels of a figure: `-1.23e-299` is the longest. */
const FIGURE = 82;

/** Return the columns: {key, title, width, right, text(row), keys()}. Those without text are drawn by the table. */
export function columnsOf(index) {
  const { columns, two } = index;
  const worded = (key, title, width) => ({
    key,
    title,
    width,
    text: (row) => columns[key][row] ?? "",
    keys: once(() => ranks(columns[key])),
  });
  const figure = (key) => ({
    key,
    title: key,
    width: FIGURE,
    right: true,
    text: (row) => short(columns[key][row], 3),
    keys: () => columns[key],
  });
  const changes = [
    { ...worded("kind", "kind", 74), keys: () => ranks(columns.kind.map((kind) => kind ?? "")) },
    {
      ...figure("relative"),
      keys: () => columns.relative.map((value, row) => (APART.includes(columns.kind[row]) ? Infinity : value)),
      hint: "the l2 norm of the difference over that of the older",
    },
    { ...figure("cosine"), text: (row) => cosineText(columns.cosine?.[row]), hint: "of the angle between both" },
    {
      ...figure("changed"),
      width: 98,
      text: (row) => (columns.changed[row] === null ? "" : whole(columns.changed[row])),
      hint: "entries whose bits differ",
    },
  ];
  return [
    { key: "name", title: "weight", width: 0, keys: once(() => ranks(index.lowered)) },
    { key: "spark", title: "", width: 112 },
    ...(two ? changes : []),
    { key: "shape", title: "shape", width: 120, text: (row) => shapeText(columns.shape[row]), keys: () => columns.size },
    {
      key: "size",
      title: "parameters",
      width: 92,
      right: true,
      text: (row) => rounded(columns.size[row]),
      keys: () => columns.size,
    },
    worded("dtype", "dtype", 72),
    worded("role", "role", 80),
    ...["min", "mean", "max", "std"].map(figure),
  ];
}

function cosineText(cosine) {
  if (cosine === null || cosine === undefined) return "";
  return cosine !== 1 && Math.abs(cosine) > 0.99995
    ? `${cosine > 0 ? "" : "-"}1\u2009−\u2009${(1 - Math.abs(cosine)).toExponential(0)}`
    : cosine.toFixed(4);
}

function once(make) {
  let made = null;
  return () => (made ??= make());
}
