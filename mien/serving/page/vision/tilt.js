// Predict how far a face is turned; see mien/vision/tilt.py, whose numbers these are.

/**
 * @typedef {import("./pixels.js").Image} Image
 * The angle by which a face (64 x 64) is turned, in degrees clockwise, and its probability.
 * @typedef {(face: Image) => Promise<[number, number]>} TiltPredictor
 */

export const INPUT_SIDE = 64, FIELD = 1.5;
const BINS = 72;
const STEPS = [-3, -2, -1, 0, 1, 2, 3];

/**
 * The mean angle around the most probable of 72, in degrees, and the probability of those around it.
 * @param {Float32Array} probabilities @returns {[number, number]}
 */
export function angleOf(probabilities) {
  const best = probabilities.indexOf(Math.max(...probabilities));
  const near = STEPS.map((step) => probabilities[(best + step + BINS) % BINS]);
  const total = near.reduce((sum, value) => sum + value, 0);
  const moment = near.reduce((sum, value, i) => sum + value * STEPS[i], 0);
  return [(((((best + moment / total) * 360) / BINS + 180) % 360) + 360) % 360 - 180, total];
}
