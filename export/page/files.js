/* Files out of a drop, the folders in it opened: [{path, file}], or {path, error} where one fails.
 *
 * In folders, the suffix decides what is a picture, as in `rali score`; a file that was dropped by
 * itself is kept whatever its name.
 */
const SUFFIXES = new Set([ // those of rali.pictures.read
  ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".tif", ".tiff",
  ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif", ".jxl",
  ".hif", ".tga", ".qoi", ".ico",
]); // prettier-ignore
const COMPARE = new Intl.Collator(undefined, { numeric: true }).compare;

/** Files that were chosen, or pasted, by themselves. */
export function chosenFiles(files) {
  return [...files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/** The files of a drop's `transfer`; call it before the event ends. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return chosenFiles(transfer.files);
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  const path = entry.fullPath.replace(/^\//, "");
  if (entry.isDirectory) return filesIn(entry, path);
  try {
    return [{ path, file: await new Promise((done, failed) => entry.file(done, failed)) }];
  } catch (error) {
    return [{ path, error: `The file cannot be read: ${error.message}` }];
  }
}

/** Its pictures, then those of its folders. */
async function filesIn(folder, path) {
  const reader = folder.createReader();
  const [found, unread] = [[], []];
  try {
    for (;;) {
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) break;
      found.push(...some); // browsers hand over a hundred at a time
    }
  } catch (error) {
    unread.push({ path, error: `The folder cannot be read: ${error.message}` });
  }
  const wanted = found.filter(isWanted);
  wanted.sort((a, b) => a.isDirectory - b.isDirectory || COMPARE(a.name, b.name));
  return [...unread, ...(await Promise.all(wanted.map(filesOf))).flat()];
}

function isWanted({ name, isDirectory }) {
  if (name[0] === ".") return false;
  return isDirectory || SUFFIXES.has(name.slice(name.lastIndexOf(".")).toLowerCase());
}
