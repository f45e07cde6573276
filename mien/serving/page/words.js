// Put predictions into words, as mien/output/phrases.py does.

/** @typedef {import("./answers.js").Prediction} Prediction */

/** @param {string} name of a task or class */
export const plain = (name) => name.replaceAll("_", " ");

/** @param {number} part */
const percent = (part) => `${Math.round(part * 100)}\u00a0%`;

/** The classes of a nominal prediction, the likeliest first. @param {Record<string, number>} probabilities */
const ordered = (probabilities) => Object.entries(probabilities).sort((a, b) => b[1] - a[1]);

/** A few characters, for the picture: `34 (28-41)`, `female 98 %`, `asian? 41 %`. @param {Prediction} prediction */
export function phrase(prediction) {
  if ("value" in prediction) {
    const { value, low, high } = prediction;
    return `${Math.round(value)} (${Math.round(low)}-${Math.round(high)})`;
  }
  const [label] = ordered(prediction.probabilities)[0];
  return `${plain(label)}${prediction.abstained ? "?" : ""} ${percent(prediction.probability)}`;
}

/** The answer, for the list: `about 34`, `female`, `not sure`. @param {Prediction} prediction */
export function answerText(prediction) {
  if ("value" in prediction) return `about ${Math.round(prediction.value)}`;
  return prediction.label === null ? "not sure" : plain(prediction.label);
}

/** What qualifies the answer: the interval, or the probabilities. @param {Prediction} prediction */
export function detailText(prediction) {
  if ("value" in prediction) return `${Math.round(prediction.low)} to ${Math.round(prediction.high)}`;
  const shown = ordered(prediction.probabilities).filter(([, p], i) => i === 0 || p >= 0.01);
  return shown.map(([label, p]) => `${plain(label)} ${percent(p)}`).join(", ");
}

/** @param {number} count @param {string} noun */
export const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
