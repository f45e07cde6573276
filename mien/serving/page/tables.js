// Write results as JSON lines and CSV; the formats of docs/predict.md.

/**
 * @typedef {import("./model.js").Result} Result
 * @typedef {import("./answers.js").Task} Task
 */

/** @param {Result[]} results */
export const toJSONLines = (results) => results.map((result) => `${JSON.stringify(result)}\n`).join("");

/** @param {Result[]} results @param {Task[]} tasks */
export function toCSV(results, tasks) {
  const lines = results.flatMap((result) => rowsOf(result, tasks));
  return [columnsOf(tasks), ...lines].map((cells) => `${cells.map(quoted).join(",")}\n`).join("");
}

/** @param {Task[]} tasks */
function columnsOf(tasks) {
  const before = ["path", "status", "width", "height", "face", "box_x", "box_y", "box_w", "box_h", "score"];
  const ofTasks = tasks.flatMap(({ name, kind, classes }) =>
    kind === "ordinal"
      ? [name, `${name}_low`, `${name}_high`]
      : [name, `${name}_probability`, ...classes.map((label) => `${name}_p_${label}`)],
  );
  return [...before, ...ofTasks, "model", "reason"];
}

/** @param {Result} result @param {Task[]} tasks */
function rowsOf(result, tasks) {
  const head = [result.path, result.status, result.width, result.height];
  const tail = [result.model, result.reason];
  if (!result.faces.length) {
    return [[...head, ...Array(columnsOf(tasks).length - head.length - tail.length).fill(null), ...tail]];
  }
  return result.faces.map((face, index) => {
    const cells = tasks.flatMap(({ name, kind, classes }) => {
      const answer = face[name];
      if (kind === "ordinal") return [answer.value, answer.low, answer.high];
      return [answer.label, answer.probability, ...classes.map((label) => answer.probabilities[label])];
    });
    return [...head, index + 1, ...face.box, face.score, ...cells, ...tail];
  });
}

/** Quote as RFC 4180 says. @param {unknown} cell */
function quoted(cell) {
  const text = String(cell ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
