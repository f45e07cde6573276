// Cut the upright square crop of a face out of an image by its landmarks; see mien/vision/align.py.
import { resize, round, warp } from "./pixels.js";

/**
 * @typedef {import("./pixels.js").Image} Image
 * @typedef {import("./pixels.js").Matrix} Matrix
 * How crops are made: where the landmarks land, as fractions of the side, and what lies beyond the image.
 * @typedef {{ template: number[][], edges: "repeat" | "gray" }} CropRecipe
 */

/**
 * The rotation, scale and shift that moves `source` (points) closest to `target`.
 * @param {number[][]} source @param {number[][]} target
 * @returns {Matrix}
 */
export function similarityTransform(source, target) {
  const [zx, zy, wx, wy] = [source, target].flatMap((points) => [0, 1].map((i) => mean(points.map((p) => p[i]))));
  let power = 0, real = 0, imaginary = 0;
  source.forEach(([x, y], i) => {
    const [dx, dy, ex, ey] = [x - zx, y - zy, target[i][0] - wx, target[i][1] - wy];
    // As NumPy squares an absolute value: the last bit may decide how a pixel is rounded.
    power += Math.hypot(dx, dy) ** 2;
    real += dx * ex + dy * ey;
    imaginary += dx * ey - dy * ex;
  });
  const [a, b] = power > 0 ? [real / power, imaginary / power] : [1, 0];
  return [a, -b, wx - (a * zx - b * zy), b, a, wy - (a * zy + b * zx)];
}

/** @param {number[]} values */
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

/**
 * The face as an upright crop.
 * @param {Image} image @param {number[][]} landmarks @param {number} size @param {CropRecipe} recipe
 */
export function alignFace(image, landmarks, size, recipe) {
  const target = recipe.template.map((point) => point.map((value) => value * size));
  let matrix = similarityTransform(landmarks, target);
  const scale = Math.hypot(matrix[0], matrix[3]);
  if (scale < 0.5) {
    // Shrinking by more than two needs averaging first, or the warp would skip pixels.
    const sides = [image.width, image.height].map((side) => Math.max(round(side * scale * 1.5), 1));
    const [fx, fy] = [image.width / sides[0], image.height / sides[1]];
    image = resize(image, sides[0], sides[1]);
    matrix = [matrix[0] * fx, matrix[1] * fy, matrix[2], matrix[3] * fx, matrix[4] * fy, matrix[5]];
  }
  // The warp counts pixel centres, the template counts edges: shift by half a pixel on both sides.
  matrix[2] += (matrix[0] + matrix[1]) / 2 - 0.5;
  matrix[5] += (matrix[3] + matrix[4]) / 2 - 0.5;
  return warp(image, matrix, size, recipe.edges);
}
