/* Overlapping windows of a picture, and colours for their scores, as `rali.scoring.heatmap`.
 *
 * `layout` is the `map` of model.json: {mode, share, most, range, colours: [[r, g, b]]}.
 */

/** {tops, lefts, height, width}: where windows begin, and their size in pixels. */
export function windowsOf(height, width, layout) {
  const seen = { shortest: Math.min(height, width), mirror: Math.max(height, width) }[layout.mode];
  const edge = (length) => Math.min(length, Math.max(1, Math.floor((seen ?? length) / layout.share)));
  const [high, wide] = [edge(height), edge(width)];
  return {
    tops: starts(height, high, layout.most),
    lefts: starts(width, wide, layout.most),
    height: high,
    width: wide,
  };
}

/** The first at the edge's start, the last at its end. */
function starts(length, edge, most) {
  const count = Math.min(most, 1 + roundHalfToEven((2 * (length - edge)) / edge));
  const step = count > 1 ? (length - edge) / (count - 1) : 0;
  const at = (place) => (place && place === count - 1 ? length - edge : Math.floor(place * step));
  return [...new Set(Array.from({ length: count }, (_, place) => at(place)))];
}

/** As Python rounds. */
function roundHalfToEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

/** Colours of a picture of `shape` [height, width] that is drawn as `size` [height, width]. */
export function colourOver(scores, windows, shape, size, layout) {
  const [low, high] = layout.range;
  const rows = between(windows.tops, windows.height, shape[0], size[0]);
  const columns = between(windows.lefts, windows.width, shape[1], size[1]);
  const across = windows.lefts.length;
  const image = new ImageData(size[1], size[0]);
  let place = 0;
  for (const { before: up, after: down, share: lower } of rows) {
    for (const { before, after, share } of columns) {
      const above = mix(scores[up * across + before], scores[up * across + after], share);
      const below = mix(scores[down * across + before], scores[down * across + after], share);
      const value = (mix(above, below, lower) - low) / (high - low);
      const [r, g, b] = layout.colours[Math.round(value * (layout.colours.length - 1))];
      image.data[place++] = r;
      image.data[place++] = g;
      image.data[place++] = b;
      image.data[place++] = 255;
    }
  }
  return image;
}

const mix = (one, other, share) => one + share * (other - one);

/** Of each drawn place the windows whose centres lie around it; beyond the ends, the last. */
function between(begins, edge, length, drawn) {
  const centres = begins.map((begin) => begin + edge / 2);
  let before = 0;
  return Array.from({ length: drawn }, (_, place) => {
    const at = ((place + 0.5) * length) / drawn;
    while (before + 1 < centres.length && centres[before + 1] <= at) before++;
    const after = Math.min(before + 1, centres.length - 1);
    const share = after > before ? (at - centres[before]) / (centres[after] - centres[before]) : 0;
    return { before, after, share: Math.max(0, share) };
  });
}
