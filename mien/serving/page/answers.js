// Turn the probabilities of a model into predictions; see mien/inference/postprocess.py.

/**
 * @typedef {{ name: string, kind: "ordinal" | "nominal", classes: string[], lowest: number, highest: number }} Task
 * @typedef {{ point: "mean" | "median" | "level", point_quantile: number, low_quantile: number,
 *   high_quantile: number, offset: number, offsets: [number, number][], coverage: number }} OrdinalCalibration
 * @typedef {{ temperature: number, abstain_below: number, class_offsets: number[] }} NominalCalibration
 * @typedef {{ value: number, low: number, high: number }} OrdinalPrediction
 * @typedef {{ label: string | null, probability: number, probabilities: Record<string, number>,
 *   abstained?: true }} NominalPrediction
 * @typedef {OrdinalPrediction | NominalPrediction} Prediction
 */

/**
 * The prediction of one face, rounded for reading.
 * @param {Task} task @param {OrdinalCalibration | NominalCalibration} calibration
 * @param {Float32Array} output the task's probabilities, one a level or class
 * @returns {Prediction}
 */
export function predict(task, calibration, output) {
  if (task.kind === "ordinal") return ordinal(task, /** @type {OrdinalCalibration} */ (calibration), output);
  return nominal(task, /** @type {NominalCalibration} */ (calibration), output);
}

/** @param {Task} task @param {OrdinalCalibration} calibration @param {Float32Array} output */
function ordinal(task, calibration, output) {
  const cumulative = cumulated(output);
  const point = ordinalPoint(task, calibration, output, cumulative);
  let low = quantile(cumulative, task.lowest, calibration.low_quantile);
  let high = quantile(cumulative, task.lowest, calibration.high_quantile);
  if (calibration.offsets.length) {
    [low, high] = reachedLevels(low, high, task, calibration);
  } else {
    [low, high] = [low - calibration.offset, high + calibration.offset];
  }
  low = Math.max(Math.min(low, point), task.lowest);
  high = Math.min(Math.max(high, point), task.highest);
  return { value: rounded(point, 2), low: rounded(low, 2), high: rounded(high, 2) };
}

/**
 * @param {Task} task @param {OrdinalCalibration} calibration @param {Float32Array} output
 * @param {Float64Array} cumulative
 */
function ordinalPoint(task, { point, point_quantile }, output, cumulative) {
  if (point === "mean") return output.reduce((sum, mass, i) => sum + mass * (task.lowest + i), 0);
  if (point === "level") return task.lowest + levelIndex(cumulative, point_quantile);
  return quantile(cumulative, task.lowest, point_quantile);
}

/** The mass up to each level; 1 at the last. @param {Float32Array} output */
function cumulated(output) {
  let sum = 0;
  const sums = Float64Array.from(output, (mass) => (sum += mass));
  return sums.map((value) => value / sum);
}

/** The first level at which the quantile is reached. @param {Float64Array} cumulative @param {number} part */
function levelIndex(cumulative, part) {
  return Math.min(cumulative.filter((value) => value < part).length, cumulative.length - 1);
}

/**
 * The level below which `part` of the mass lies, each level's mass spread over +-0.5.
 * @param {Float64Array} cumulative @param {number} lowest @param {number} part
 */
function quantile(cumulative, lowest, part) {
  const index = levelIndex(cumulative, part);
  const before = index > 0 ? cumulative[index - 1] : 0;
  const mass = cumulative[index] - before;
  const share = mass > 0 ? (part - before) / mass : 0.5;
  return Math.min(Math.max(lowest + index - 0.5 + share, lowest), lowest + cumulative.length - 1);
}

/**
 * Lowest and highest level that the quantiles, widened by the level's own offset, reach.
 * @param {number} low @param {number} high @param {Task} task @param {OrdinalCalibration} calibration
 */
function reachedLevels(low, high, task, { offsets }) {
  let [lowest, highest] = [Infinity, -Infinity];
  for (let level = task.lowest; level <= task.highest; level++) {
    const offset = offsets.filter(([start]) => start <= level).slice(-1)[0][1];
    if (low - offset <= level && level <= high + offset) {
      lowest = Math.min(lowest, level);
      highest = Math.max(highest, level);
    }
  }
  return [lowest, highest];
}

/**
 * Temperature scaling with class offsets: softmax(log p / T + offsets).
 * @param {Task} task @param {NominalCalibration} calibration @param {Float32Array} output
 * @returns {NominalPrediction}
 */
function nominal(task, { temperature, abstain_below, class_offsets }, output) {
  const logits = Array.from(output, (p, i) => Math.log(Math.max(p, 1e-12)) / temperature + (class_offsets[i] ?? 0));
  const most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  const scaled = powers.map((power) => power / sum);
  const best = scaled.indexOf(Math.max(...scaled));
  const probabilities = Object.fromEntries(task.classes.map((name, i) => [name, rounded(scaled[i], 6)]));
  const abstained = scaled[best] < abstain_below;
  const head = { label: abstained ? null : task.classes[best], probability: rounded(scaled[best], 6), probabilities };
  return abstained ? { ...head, abstained: true } : head;
}

/** @param {number} value @param {number} digits */
export function rounded(value, digits) {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}
