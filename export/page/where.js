/* Where a picture is good and where bad: the model's scores of overlapping squares, as a map on it. */

const MOST_ALONG = 24; // squares along one edge
const SMOOTH = 16; // pixels along an edge of each cell of the map
// From low to high, darker to lighter, so that it reads without colour too (after cividis).
const COLOURS = [[0, 34, 78], [66, 78, 108], [125, 124, 120], [188, 175, 111], [254, 232, 56]]; // prettier-ignore

const find = (name) => document.querySelector(`#where${name}`);
const [dialog, title, said] = [find(""), find("-title"), find("-said")];
const [picture, map, scale, opacity] = [find("-picture"), find("-map"), find("-scale"), find("-opacity")]; // prettier-ignore
let shown; // the file whose map is being made or seen

find("-close").addEventListener("click", () => dialog.close());
opacity.addEventListener("input", showOpacity);
dialog.addEventListener("close", () => {
  shown = undefined;
});

/** Shows the file with its map; `ask` puts tasks to the worker, `size` is the model's. */
export async function showWhere(file, ask, size) {
  shown = file;
  title.textContent = `Where: ${file.name}`;
  said.textContent = "Decoding…";
  for (const each of [picture, map]) each.width = each.height = 1;
  for (const name of ["-low", "-high"]) find(name).textContent = "";
  showOpacity();
  dialog.showModal();
  try {
    const opened = await ask("open", { file });
    paintPicture(opened.picture);
    const grid = gridOf(opened.width, opened.height, size);
    const scores = [];
    for (const square of grid.squares) {
      if (shown !== file) return;
      said.textContent = `Part ${scores.length + 1} of ${grid.squares.length}…`;
      scores.push(await ask("crop", square));
    }
    if (shown === file) paintMap(grid, scores);
  } catch (error) {
    said.textContent = error.message;
  } finally {
    if (shown === undefined) ask("close", {});
  }
}

/** Squares of a third of the shorter edge, but of half the model's size at least, half overlapping. */
function gridOf(width, height, size) {
  const shorter = Math.min(width, height);
  const side = Math.min(shorter, Math.max(Math.round(shorter / 3), Math.round(size / 2)));
  const along = (length) => {
    const count = Math.min(MOST_ALONG, Math.ceil((2 * length) / side) - 1);
    const step = count > 1 ? (length - side) / (count - 1) : 0;
    return Array.from({ length: count }, (_, place) => Math.round(place * step));
  };
  const [lefts, tops] = [along(width), along(height)];
  const squares = tops.flatMap((top) => lefts.map((left) => ({ left, top, side })));
  return { squares, columns: lefts.length, rows: tops.length };
}

function paintPicture(bitmap) {
  picture.width = bitmap.width;
  picture.height = bitmap.height;
  picture.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
}

/** Squares overlap by half: each cell of half a side is the mean of those that cover it. */
function paintMap(grid, scores) {
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  const share = (score) => (high > low ? (score - low) / (high - low) : 0.5);
  const [columns, rows] = [grid.columns + 1, grid.rows + 1];
  const cells = Array.from({ length: rows * columns }, (_, cell) => {
    const [row, column] = [Math.floor(cell / columns), cell % columns];
    const over = scores.filter((_, square) => {
      const down = row - Math.floor(square / grid.columns);
      const across = column - (square % grid.columns);
      return (down === 0 || down === 1) && (across === 0 || across === 1);
    });
    return share(over.reduce((sum, score) => sum + score, 0) / over.length);
  });
  paint(map, cells, columns, rows);
  paint(scale, Array.from({ length: 64 }, (_, place) => place / 63), 64, 1);
  find("-low").textContent = `worst ${low.toFixed(2)}`;
  find("-high").textContent = `best ${high.toFixed(2)}`;
  const at = (score) => placeName(scores.indexOf(score), grid.columns, grid.rows);
  said.textContent =
    scores.length === 1
      ? `The picture is too small to be cut: ${low.toFixed(2)}.`
      : `Of ${scores.length} parts the worst is ${at(low)} with ${low.toFixed(2)}, ` +
        `the best ${at(high)} with ${high.toFixed(2)}.`;
}

/** Shares from 0 to 1 in colours, with smooth steps. */
function paint(canvas, shares, columns, rows) {
  const image = new ImageData(columns, rows);
  shares.forEach((share, place) => image.data.set([...colour(share), 255], 4 * place));
  const small = new OffscreenCanvas(columns, rows);
  small.getContext("2d").putImageData(image, 0, 0);
  canvas.width = columns * SMOOTH;
  canvas.height = rows * SMOOTH;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

function colour(share) {
  const place = share * (COLOURS.length - 1);
  const below = Math.min(Math.floor(place), COLOURS.length - 2);
  return COLOURS[below].map((from, c) => from + (COLOURS[below + 1][c] - from) * (place - below));
}

function placeName(index, columns, rows) {
  const third = (place, count) => (count > 1 ? Math.min(2, Math.floor((3 * place) / count)) : 1);
  const down = third(Math.floor(index / columns), rows);
  const across = third(index % columns, columns);
  return ["at the top", "in the middle", "at the bottom"][down] + [" left", "", " right"][across];
}

function showOpacity() {
  map.style.opacity = opacity.value;
}
