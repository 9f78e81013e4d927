/* A file in, RGB out as a viewer shows it on a white page; or an error that says what is wrong.
 *
 * The browser decodes: EXIF rotation, colour profiles to sRGB and the first frame are its work.
 */
import { isCutOff, kindOf } from "./formats.js";

const MOST_PIXELS = 100_000_000; // WebAssembly has 4 GB at most
const TILE = 4096; // every browser has canvases of this size

/** {rgb: uint8 [height · width · 3], width, height, small: ImageBitmap}; throws with a reason. */
export async function decode(file, smallEdge) {
  const bytes = await read(file);
  const kind = kindOf(bytes);
  if (isCutOff(bytes, kind)) throw new Error("The file is truncated: its end is missing.");
  const bitmap = await bitmapOf(file, kind);
  try {
    const { width, height } = bitmap;
    if (width * height > MOST_PIXELS) {
      const limit = MOST_PIXELS.toLocaleString("en");
      throw new Error(
        `The picture has ${width} by ${height} pixels, more than this page's limit of ${limit}; ` +
          "rali score takes more.",
      );
    }
    return { rgb: pixels(bitmap), width, height, small: smaller(bitmap, smallEdge) };
  } finally {
    bitmap.close();
  }
}

async function read(file) {
  let bytes;
  try {
    bytes = new Uint8Array(await file.arrayBuffer());
  } catch {
    throw new Error("The file cannot be read: it is a folder, was moved, or may not be opened.");
  }
  if (!bytes.length) throw new Error("The file is empty (0 bytes).");
  return bytes;
}

async function bitmapOf(file, kind) {
  try {
    return await createImageBitmap(file, {
      imageOrientation: "from-image",
      premultiplyAlpha: "none",
      colorSpaceConversion: "default",
    });
  } catch {
    if (!kind) throw new Error("This is not a picture in a format that this page knows.");
    if (kind.everywhere) {
      throw new Error(`The file begins as a ${kind.name} picture, but it is damaged or too large.`);
    }
    throw new Error(
      `The file's format is ${kind.name}, and this browser cannot decode it: save it as JPEG or PNG.`,
    );
  }
}

/** Tile by tile, as canvases have limits and RGBA of the whole would be one copy more. */
function pixels(bitmap) {
  const { width, height } = bitmap;
  const rgb = new Uint8Array(width * height * 3);
  for (let top = 0; top < height; top += TILE) {
    for (let left = 0; left < width; left += TILE) {
      const columns = Math.min(TILE, width - left);
      const rows = Math.min(TILE, height - top);
      const context = whiteContext(columns, rows);
      context.drawImage(bitmap, -left, -top);
      const rgba = context.getImageData(0, 0, columns, rows).data;
      for (let row = 0, from = 0; row < rows; row++) {
        let to = ((top + row) * width + left) * 3;
        for (let column = 0; column < columns; column++, from += 4) {
          rgb[to++] = rgba[from];
          rgb[to++] = rgba[from + 1];
          rgb[to++] = rgba[from + 2];
        }
      }
    }
  }
  return rgb;
}

function smaller(bitmap, edge) {
  const scale = Math.min(1, edge / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * scale));
  const height = Math.max(1, Math.round(bitmap.height * scale));
  const context = whiteContext(width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return context.canvas.transferToImageBitmap();
}

function whiteContext(width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { colorSpace: "srgb", willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  return context;
}
