// Predict how far a face is turned; see mien/vision/tilt.py, whose numbers these are.

/**
 * @typedef {import("./pixels.js").Image} Image
 * The angle by which a face (64 x 64) is turned, in degrees clockwise, and its probability.
 * @typedef {(face: Image) => Promise<[number, number]>} TiltPredictor
 */

export const INPUT_SIDE = 64, FIELD = 1.8;
const BINS = 72, AROUND = 3;

/** @param {ArrayLike<number>} probabilities of 72 angles @returns {[number, number]} */
export function angleOf(probabilities) {
  let best = 0;
  for (let bin = 1; bin < BINS; bin++) if (probabilities[bin] > probabilities[best]) best = bin;
  let total = 0, moment = 0;
  for (let step = -AROUND; step <= AROUND; step++) {
    const near = probabilities[(best + step + BINS) % BINS];
    total += near;
    moment += near * step;
  }
  const angle = ((best + moment / total) * 360) / BINS;
  return [((angle + 180) % 360) - 180, total];
}
