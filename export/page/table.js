/* The table of results: a row for each picture, filled when its result is there, sorted on demand. */
import { element } from "./element.js";

const body = document.querySelector("#rows");
const heads = [...document.querySelectorAll("th[data-sort]")];
const KEYS = {
  name: ({ image }) => image.toLowerCase(),
  score: ({ score }) => score,
  time: ({ decodeTime, modelTime }) => decodeTime + modelTime,
};
const LEAST = 0.005; // a probability below it would read "0 %"
const COMPARE = new Intl.Collator(undefined, { numeric: true }).compare;

const results = new Map(); // by row
let range, onWhere;

/** `range` of scores; `onWhere(source)` is called to show the map of a picture. */
export function setUpTable(given) {
  ({ range, onWhere } = given);
  for (const head of heads) head.firstChild.addEventListener("click", () => sortBy(head));
}

/** A row that waits for the result of a source, {path, file}. */
export function addRow({ path }) {
  const row = element("tr", { role: "row", class: "waiting" }, [
    pictureCell(path, element("span", { class: "thumbnail" })),
    cell("score", ["Waiting"]),
  ]);
  body.append(row);
  return row;
}

export function fillRow(row, source, result) {
  results.set(row, result);
  row.className = result.error === undefined ? "" : "failed";
  const cells = result.error === undefined ? scoredCells(source, result) : failedCells(result);
  row.replaceChildren(...cells);
  for (const head of heads) head.removeAttribute("aria-sort"); // the new one stands where it was put
}

export function removeRow(row) {
  results.delete(row);
  row.remove();
}

/** The results so far, in the order of the table. */
export function tableResults() {
  return [...body.rows].map((row) => results.get(row)).filter(Boolean);
}

export function clearTable() {
  results.clear();
  body.replaceChildren();
}

function scoredCells(source, result) {
  const { image, score, low, high, reasons, width, height, decodeTime, modelTime } = result;
  const canvas = element("canvas", { class: "thumbnail", "aria-hidden": "true" });
  canvas.width = result.thumbnail.width;
  canvas.height = result.thumbnail.height;
  canvas.getContext("bitmaprenderer").transferFromImageBitmap(result.thumbnail);
  const between = low === undefined ? [] : [element("small", {}, [interval(low, high)])];
  const likely = reasons.filter(({ probability }) => probability >= LEAST);
  const map = element("button", { type: "button", "aria-label": `Where: ${image}` }, ["Where"]);
  map.addEventListener("click", () => onWhere(source));
  return [
    pictureCell(image, canvas, `${width} × ${height}`),
    cell("score", [element("b", {}, [score.toFixed(2)]), gauge(score, low, high), ...between]),
    cell("why", likely.length ? [element("ul", {}, likely.map(reason))] : []),
    cell("time", [
      element("span", {}, [`decode ${Math.round(decodeTime)}\u00a0ms`]),
      element("span", {}, [`model ${Math.round(modelTime)}\u00a0ms`]),
    ]),
    cell("where", [map]),
  ];
}

function failedCells({ image, error }) {
  const thumbnail = element("span", { class: "thumbnail", "aria-hidden": "true" }, ["!"]);
  const reasonCell = cell("error", [element("b", {}, ["No score. "]), error]);
  reasonCell.colSpan = 4;
  return [pictureCell(image, thumbnail), reasonCell];
}

function pictureCell(name, thumbnail, size = "") {
  const texts = [element("span", { class: "name", title: name }, [name])];
  if (size) texts.push(element("small", {}, [size]));
  return element("th", { role: "rowheader", scope: "row", class: "picture" }, [
    thumbnail,
    element("span", { class: "texts" }, texts),
  ]);
}

const cell = (name, children) => element("td", { role: "cell", class: name }, children);

const interval = (low, high) => `${low.toFixed(2)}–${high.toFixed(2)}`;

const reason = ({ phrase, probability }) =>
  element("li", {}, [`${phrase} `, element("small", {}, [`${Math.round(100 * probability)}\u00a0%`])]);

/** A line from the lowest to the highest score, with the interval as a band and the score on it. */
function gauge(score, low = score, high = score) {
  const share = (value) => `${(100 * (value - range[0])) / (range[1] - range[0])}%`;
  const drawn = element("span", { class: "gauge", "aria-hidden": "true" });
  drawn.style.setProperty("--score", share(score));
  drawn.style.setProperty("--low", share(low));
  drawn.style.setProperty("--high", share(high));
  return drawn;
}

/** Ascending, then descending; pictures without a score come last either way. */
function sortBy(head) {
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const each of heads) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => (results.has(row) ? KEYS[head.dataset.sort](results.get(row)) : undefined);
  const missing = (value) => value === undefined || Number.isNaN(value);
  const rows = [...body.rows].sort((one, other) => {
    const [a, b] = [key(one), key(other)];
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    const order = typeof a === "string" ? COMPARE(a, b) : a - b;
    return down ? -order : order;
  });
  body.append(...rows);
}
