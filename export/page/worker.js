/* Decodes pictures and runs the model on them, one after the other, while the page stays responsive.
 *
 * In: {id, task, given}. Out: {id, result} or {id, error}.
 */
import { decode } from "./decode.js";
import { explain, openPhrases } from "./explain.js";
import { openModel } from "./model.js";

const THUMBNAIL = 192; // longer edges, in pixels
const LARGE = 1280;

let model, phrases;
let opened; // the picture that `window` cuts from

const TASKS = {
  async load({ description, wanted }) {
    model = await openModel(description.check, wanted);
    phrases = description.phrases && openPhrases(description.phrases);
    return { backend: model.backend, threads: model.threads, off: model.off };
  },

  async score({ file }) {
    const started = performance.now();
    const { small, ...picture } = await decode(file, THUMBNAIL);
    const decoded = performance.now();
    const { score, embedding } = await model.run(picture);
    return {
      score,
      reasons: phrases ? explain(phrases, embedding) : [],
      width: picture.width,
      height: picture.height,
      thumbnail: small,
      decodeTime: decoded - started,
      modelTime: performance.now() - decoded,
    };
  },

  async open({ file }) {
    opened = undefined;
    const { small, ...picture } = await decode(file, LARGE);
    opened = picture;
    return { width: picture.width, height: picture.height, picture: small };
  },

  async window({ top, left, height, width }) {
    const rgb = new Uint8Array(height * width * 3);
    for (let row = 0; row < height; row++) {
      const from = ((top + row) * opened.width + left) * 3;
      rgb.set(opened.rgb.subarray(from, from + width * 3), row * width * 3);
    }
    return (await model.runWindow({ rgb, width, height })).score;
  },

  async close() {
    opened = undefined;
  },
};

async function answer({ id, task, given }) {
  try {
    const result = await TASKS[task](given);
    postMessage({ id, result }, [result?.thumbnail ?? result?.picture].filter(Boolean));
  } catch (error) {
    postMessage({ id, error: error.message });
  }
}

let last = Promise.resolve();
onmessage = ({ data }) => {
  last = last.then(() => answer(data));
};
