/* Where a picture is good and where bad: scores of overlapping windows, as a map over it. */
import { colourOver, windowsOf } from "./heatmap.js";

const find = (name) => document.querySelector(`#where${name}`);
const [dialog, title, said] = [find(""), find("-title"), find("-said")];
const [picture, map, scale, opacity] = [find("-picture"), find("-map"), find("-scale"), find("-opacity")]; // prettier-ignore
let ask, layout;
let opening = 0; // counts openings and closings: work begun under another number is outdated

/** `given.ask` gives tasks to the worker; `given.layout` is the `map` of model.json. */
export function setUpWhere(given) {
  ({ ask, layout } = given);
  const colours = layout.colours.flatMap((colour) => [...colour, 255]);
  paint(scale, new ImageData(new Uint8ClampedArray(colours), layout.colours.length));
  find("-close").addEventListener("click", () => dialog.close());
  opacity.addEventListener("input", showOpacity);
  dialog.addEventListener("close", () => {
    if (dialog.open) return; // again, with another picture
    opening++;
    ask("close", {});
  });
}

/** Shows the file under its map. */
export async function showWhere({ path, file }) {
  const own = ++opening;
  title.textContent = `Where: ${path}`;
  said.textContent = "Decoding…";
  for (const each of [picture, map]) each.width = each.height = 1;
  find("-legend").hidden = true;
  opacity.value = layout.opacity;
  showOpacity();
  dialog.showModal();
  try {
    const opened = await ask("open", { file });
    if (own === opening) paint(picture, opened.picture);
    opened.picture.close();
    const windows = windowsOf(opened.height, opened.width, layout);
    const scores = await scoresOf(windows, own);
    if (own === opening) showMap(scores, windows, opened);
  } catch (error) {
    if (own === opening) said.textContent = error.message;
  }
}

/** Row by row; fewer once the dialog shows something else. */
async function scoresOf({ tops, lefts, height, width }, own) {
  const scores = [];
  for (const top of tops) {
    for (const left of lefts) {
      if (own !== opening) return scores;
      said.textContent = `Part ${scores.length + 1} of ${tops.length * lefts.length}…`;
      scores.push(await ask("window", { top, left, height, width }));
    }
  }
  return scores;
}

function showMap(scores, windows, { height, width }) {
  const drawn = [picture.height, picture.width];
  paint(map, colourOver(scores, windows, [height, width], drawn, layout));
  find("-low").textContent = `${layout.range[0]} (${layout.ends[0]})`;
  find("-high").textContent = `${layout.range[1]} (${layout.ends[1]})`;
  find("-legend").hidden = false;
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  const at = (score) => placeName(scores.indexOf(score), windows);
  said.textContent =
    `Of ${scores.length} parts the worst is ${at(low)} with ${low.toFixed(2)}, ` +
    `the best ${at(high)} with ${high.toFixed(2)}.`;
}

function paint(canvas, image) {
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d");
  if (image instanceof ImageData) context.putImageData(image, 0, 0);
  else context.drawImage(image, 0, 0);
}

function placeName(index, { tops, lefts }) {
  const third = (place, count) => Math.floor((3 * (place + 0.5)) / count);
  const down = third(Math.floor(index / lefts.length), tops.length);
  const across = third(index % lefts.length, lefts.length);
  return ["at the top", "in the middle", "at the bottom"][down] + [" left", "", " right"][across];
}

/** The picture turns grey under the colours, else they would mix with its own. */
function showOpacity() {
  map.style.opacity = scale.style.opacity = opacity.value;
  picture.style.filter = `grayscale(${Math.min(1, opacity.value / layout.opacity)})`;
}
