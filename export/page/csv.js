/* Results as the CSV that `rali score` writes: image, score, low and high if there are, error. */

export function csv(results, hasInterval) {
  const bounds = hasInterval ? ["low", "high"] : [];
  const columns = ["image", "score", ...bounds, "error"];
  const lines = results.map((result) => columns.map((column) => cell(result[column])));
  return [columns, ...lines].map((line) => `${line.join(",")}\n`).join("");
}

function cell(value) {
  if (value === undefined) return "";
  if (typeof value === "number") return String(Number(value.toFixed(6)));
  return /[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}
