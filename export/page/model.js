/* The graphs: prepare.onnx (image → pixel_values), window.onnx (the same for a part of a picture, as
 * maps need it) and model.onnx (→ score, embedding).
 */

const HERE = import.meta.url;
const MOST_THREADS = 8;
const TOLERANCE = 0.02; // of the check picture's score, between Python and a graphics card

/** Opens the model on WebGPU if that exists and computes what Python does, else on WebAssembly. */
export async function openModel(check, { backend, threads }) {
  const several = threads || Math.min(navigator.hardwareConcurrency, MOST_THREADS);
  threads = self.crossOriginIsolated ? several : 1;
  // Always WebAssembly: Pillow's pixels are sums of whole numbers, which it computes exactly.
  const prepare = await openGraph("prepare.onnx", "wasm", threads);
  const window = await openGraph("window.onnx", "wasm", threads);
  const made = (graph, on) => new Model({ prepare, window, graph, backend: on, threads });
  if (backend !== "wasm" && (await navigator.gpu?.requestAdapter())) {
    try {
      const model = made(await openGraph("model.onnx", "webgpu", 1), "webgpu");
      if ((await model.check(check)) <= TOLERANCE) return model;
      console.warn(`WebGPU is off by ${model.off} on the check picture.`);
    } catch (error) {
      console.warn("WebGPU failed:", error);
    }
  }
  const model = made(await openGraph("model.onnx", "wasm", threads), "wasm");
  await model.check(check);
  return model;
}

const BUILDS = { wasm: "ort-wasm-simd-threaded", webgpu: "ort-wasm-simd-threaded.asyncify" };
const binaries = {}; // by backend

/** Each backend is a build of ONNX Runtime of its own. */
async function openGraph(file, backend, threads) {
  const ort = await import(`./ort/ort.${backend}.min.mjs`);
  const wasmBinary = await (binaries[backend] ??= unpack(`ort/${BUILDS[backend]}.wasm.gz`));
  const wasmPaths = new URL("ort/", HERE).href;
  Object.assign(ort.env.wasm, { wasmPaths, wasmBinary, numThreads: threads });
  const session = await ort.InferenceSession.create(new URL(file, HERE).href, {
    executionProviders: [backend],
    logSeverityLevel: 3,
  });
  return {
    /** One input, {name: [type, data, shape]} → the outputs by name. */
    run(input) {
      const tensor = ([name, values]) => [name, new ort.Tensor(...values)];
      return session.run(Object.fromEntries(Object.entries(input).map(tensor)));
    },
  };
}

/** The bytes of a .gz file, which some hosts unpack on the way. */
async function unpack(file) {
  const response = await fetch(new URL(file, HERE));
  if (!response.ok) throw new Error(`${file} is missing beside the page.`);
  const sent = await response.blob();
  const [first, second] = new Uint8Array(await sent.slice(0, 2).arrayBuffer());
  if (first !== 0x1f || second !== 0x8b) return sent.arrayBuffer();
  return new Response(sent.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

class Model {
  constructor(given) {
    Object.assign(this, given);
  }

  /** {rgb: uint8 [height · width · 3], width, height} → {score, embedding}. */
  run(picture) {
    return this.#runOn(this.prepare, picture);
  }

  runWindow(part) {
    return this.#runOn(this.window, part);
  }

  async #runOn(prepare, { rgb, width, height }) {
    const image = ["uint8", rgb, [height, width, 3]];
    const [prepared] = Object.values(await prepare.run({ image }));
    const pixels = ["float32", prepared.data, prepared.dims];
    const { score, embedding } = await this.graph.run({ pixel_values: pixels });
    if (!Number.isFinite(score.data[0])) {
      throw new Error(`The model gave ${score.data[0]}, which is not a score.`);
    }
    return { score: score.data[0], embedding: embedding.data };
  }

  /** How far this browser is off on a picture whose score by Python is known; kept as `off`. */
  async check({ shape, score }) {
    this.off = Math.abs((await this.run(checkPicture(shape))).score - score);
    return this.off;
  }
}

/** As `check_picture` of rali.export.web makes it: value (5y + 3x + 60c) mod 256. */
function checkPicture([height, width, channels]) {
  const rgb = new Uint8Array(height * width * channels);
  let place = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++) rgb[place++] = 5 * y + 3 * x + 60 * c; // modulo 256
    }
  }
  return { rgb, width, height };
}
