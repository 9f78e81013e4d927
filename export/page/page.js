/* The page: takes files, lets the worker score one after the other, and shows the results. */
import { csv } from "./csv.js";
import { chosenFiles, droppedFiles } from "./files.js";
import { addRow, clearTable, fillRow, removeRow, setUpTable, tableResults } from "./table.js";
import { setUpWhere, showWhere } from "./where.js";

const find = (name) => document.querySelector(`#${name}`);
const options = new URLSearchParams(location.search); // ?backend=wasm and ?threads=1, to compare
const BACKENDS = { webgpu: "WebGPU", wasm: "WebAssembly" };
const FEW = 5; // at most this many results are read out one by one

const MOST_WAIT = 5000; // for the service worker, in milliseconds

const queue = []; // {row, source: {path, file} or {path, error}}
let description; // of the model, from model.json
let ask; // (task, given) → the worker's answer
let running = false;
let [done, total, failed] = [0, 0, 0]; // since the queue was last empty

listen();
const loaded = load(); // until it is, pictures wait
loaded.catch((error) => say(error.message));

async function load() {
  await isolate();
  find("files").disabled = false;
  say("Loading the model…");
  ask = startWorker();
  try {
    showReady(await loadModel());
  } catch (error) {
    throw new Error(`The model cannot be loaded: ${error.message}`, { cause: error });
  }
}

async function loadModel() {
  const answer = await fetch("model.json");
  if (!answer.ok) throw new Error(`model.json: ${answer.status} ${answer.statusText}`);
  description = await answer.json();
  const wanted = { backend: options.get("backend"), threads: Number(options.get("threads")) };
  return ask("load", { description, wanted });
}

function showReady({ backend, threads, off }) {
  setUpTable({ range: description.score_range, onWhere: showWhere });
  setUpWhere({ ask, layout: description.map });
  explainColumns();
  const with_ = backend === "wasm" ? ` × ${threads} thread${threads > 1 ? "s" : ""}` : "";
  find("model").textContent = `Model: ${description.name}, rali ${description.rali_version}.`;
  find("backend").textContent = `Computes with ${BACKENDS[backend]}${with_}.`;
  const warning = ` This browser is off by ${off.toFixed(2)} on the picture it was checked with.`;
  say(`Ready.${off > 0.02 ? warning : ""}`);
  document.body.dataset.state = "ready";
}

function listen() {
  const input = find("files");
  input.addEventListener("change", () => {
    add(chosenFiles(input.files));
    input.value = ""; // so that the same file may be chosen again
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    find("drop").classList.add("over");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) find("drop").classList.remove("over");
  });
  addEventListener("drop", async (event) => {
    event.preventDefault();
    find("drop").classList.remove("over");
    const found = await droppedFiles(event.dataTransfer);
    if (found.length) add(found);
    else say("There is no picture in what was dropped.");
  });
  addEventListener("paste", (event) => add(chosenFiles(event.clipboardData.files)));
  find("stop").addEventListener("click", stop);
  find("clear").addEventListener("click", clear);
  find("copy").addEventListener("click", copy);
  find("download").addEventListener("click", download);
}

function explainColumns() {
  find("why-note").hidden = !description.phrases;
  if (!description.interval) return;
  find("interval-note").hidden = false;
  find("interval-note").textContent =
    `Below each score: the range in which people's own score lies, in ${100 * description.interval.level} ` +
    `of 100 pictures like those that the model was calibrated on.`;
}

function add(sources) {
  if (!sources.length) return;
  find("results").hidden = false;
  for (const source of sources) queue.push({ row: addRow(source), source });
  total += sources.length;
  if (!running) work();
}

async function work() {
  running = true;
  find("running").hidden = false;
  showProgress();
  await loaded.catch(() => {}); // each row says it
  if (queue.length) say("Scoring…");
  while (queue.length) {
    showProgress();
    const { row, source } = queue.shift();
    const result = await scored(source);
    if (row.isConnected) fillRow(row, source, result);
    done++;
    failed += result.error !== undefined;
    if (total <= FEW) say(spoken(result));
  }
  running = false;
  find("running").hidden = true;
  if (total > FEW) say(summary());
  done = total = failed = 0;
}

/** The columns of `rali score`, and what else the table shows. */
async function scored({ path: image, file, error }) {
  if (error !== undefined) return { image, error };
  try {
    await loaded;
    const result = await ask("score", { file });
    return { image, ...result, ...around(result.score) };
  } catch (error) {
    return { image, error: error.message };
  }
}

function around(score) {
  if (!description.interval) return {};
  const { radius, score_range } = description.interval;
  const [lowest, highest] = score_range;
  return { low: Math.max(lowest, score - radius), high: Math.min(highest, score + radius) };
}

function stop() {
  for (const { row } of queue.splice(0)) {
    removeRow(row);
    total--;
  }
}

function clear() {
  stop();
  clearTable();
  find("results").hidden = true;
  say("Cleared.");
  find("files").focus();
}

async function copy() {
  try {
    await navigator.clipboard.writeText(csv(tableResults(), description.interval));
    say("The CSV is copied.");
  } catch {
    say("The browser does not let this page copy; download the CSV instead.");
  }
}

function download() {
  const link = document.createElement("a");
  const file = new Blob([csv(tableResults(), description.interval)], { type: "text/csv" });
  link.href = URL.createObjectURL(file);
  link.download = "scores.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function showProgress() {
  find("progress").max = total;
  find("progress").value = done;
  find("count").textContent = `${done} of ${total}`;
}

function spoken({ image, score, low, high, reasons, error }) {
  if (error !== undefined) return `${image}: no score. ${error}`;
  const between = low === undefined ? "" : `, between ${low.toFixed(2)} and ${high.toFixed(2)}`;
  const why = reasons.length ? `: ${reasons[0].phrase}` : "";
  return `${image}: ${score.toFixed(2)}${between}${why}.`;
}

function summary() {
  const scored = done - failed;
  const pictures = `${scored} picture${scored === 1 ? "" : "s"} scored`;
  return failed ? `${pictures}, ${failed} without a score.` : `${pictures}.`;
}

function say(text) {
  find("status").textContent = text;
}

/** `ask(task, given)` gives a task to the worker and resolves to its answer. */
function startWorker() {
  const worker = new Worker("worker.js", { type: "module" });
  const waiting = new Map();
  let count = 0;
  worker.onmessage = ({ data: { id, result, error } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  };
  worker.onerror = ({ message }) => {
    for (const { reject } of waiting.values()) reject(new Error(message || "the worker stopped"));
    waiting.clear();
  };
  return (task, given) =>
    new Promise((resolve, reject) => {
      waiting.set(++count, { resolve, reject });
      worker.postMessage({ id: count, task, given });
    });
}

/** Lets isolate.js add the headers that threads need; for that the page is loaded once more. */
async function isolate() {
  try {
    if (crossOriginIsolated || !navigator.serviceWorker) {
      sessionStorage.removeItem("isolating");
      return;
    }
    if (sessionStorage.getItem("isolating")) return; // it did not help
    await navigator.serviceWorker.register("isolate.js");
    const late = new Promise((_, reject) => setTimeout(reject, MOST_WAIT, "it does not start"));
    await Promise.race([navigator.serviceWorker.ready, late]);
    if (queue.length) return; // pictures that were dropped meanwhile would be lost
    sessionStorage.setItem("isolating", "yes");
  } catch (error) {
    console.warn("The model may have to run on one thread:", error); // or site data are blocked
    return;
  }
  location.reload();
  await new Promise(() => {}); // until it is
}
