/* What a file is, by its first bytes, and whether its end is missing.
 *
 * Browsers show half a picture where half is all there is; half a picture has no score.
 */
const text = (bytes, from, to) => String.fromCharCode(...bytes.subarray(from, to));
const starts = (...values) => (bytes) => values.every((value, place) => bytes[place] === value);
const brand = (pattern) => (bytes) =>
  text(bytes, 4, 8) === "ftyp" && pattern.test(text(bytes, 8, Math.min(64, bytes[3] || 64)));

// `everywhere`: every browser decodes it. The first that fits counts.
const KINDS = [
  { name: "JPEG", everywhere: true, fits: starts(0xff, 0xd8, 0xff), whole: jpegIsWhole },
  { name: "PNG", everywhere: true, fits: starts(0x89, 0x50, 0x4e, 0x47), whole: pngIsWhole },
  { name: "GIF", everywhere: true, fits: (bytes) => text(bytes, 0, 4) === "GIF8" },
  {
    name: "WebP",
    everywhere: true,
    fits: (bytes) => text(bytes, 0, 4) === "RIFF" && text(bytes, 8, 12) === "WEBP",
    whole: (bytes) => bytes.length >= 8 + view(bytes).getUint32(4, true),
  },
  { name: "BMP", everywhere: true, fits: (bytes) => text(bytes, 0, 2) === "BM" },
  { name: "AVIF", fits: brand(/avi[fs]/) },
  { name: "HEIC", fits: brand(/hei[cfmsx]|hev[cmsx]|mif1|msf1/) },
  { name: "TIFF", fits: starts(0x49, 0x49, 0x2a, 0) },
  { name: "TIFF", fits: starts(0x4d, 0x4d, 0, 0x2a) },
  { name: "JPEG 2000", fits: (bytes) => text(bytes, 4, 8) === "jP  " },
  { name: "JPEG 2000", fits: starts(0xff, 0x4f, 0xff, 0x51) },
  { name: "JPEG XL", fits: (bytes) => text(bytes, 4, 8) === "JXL " },
  { name: "JPEG XL", fits: starts(0xff, 0x0a) },
  { name: "QOI", fits: (bytes) => text(bytes, 0, 4) === "qoif" },
  { name: "Photoshop", fits: (bytes) => text(bytes, 0, 4) === "8BPS" },
  { name: "SVG", fits: (bytes) => /<svg[\s>]/.test(text(bytes, 0, 1024)) },
];

/** One of `KINDS`, or undefined. */
export function kindOf(bytes) {
  return KINDS.find((kind) => kind.fits(bytes));
}

export function isCutOff(bytes, kind) {
  return Boolean(kind?.whole && !kind.whole(bytes));
}

const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Whether the marker EOI comes after the scans; one inside an EXIF thumbnail does not count. */
function jpegIsWhole(bytes) {
  let place = 2;
  while (place + 1 < bytes.length) {
    const marker = bytes[place + 1];
    if (bytes[place] !== 0xff) place++; // compressed data of a scan
    else if (marker === 0xd9) return true;
    else if (marker === 0xff) place++;
    else if (marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= 0xd7)) place += 2;
    else place += 2 + ((bytes[place + 2] << 8) | bytes[place + 3]);
  }
  return false;
}

/** Whether its chunks lead to IEND. */
function pngIsWhole(bytes) {
  const numbers = view(bytes);
  for (let place = 8; place + 12 <= bytes.length; place += 12 + numbers.getUint32(place)) {
    if (text(bytes, place + 4, place + 8) === "IEND") return true;
  }
  return false;
}
