// Find the upright orientation of a face that may be turned; see mien/vision/turn.py, whose numbers these are.
import { blank, cut, GRAY, inverse, paste, resize, round, warp } from "./pixels.js";
import { FIELD, INPUT_SIDE } from "./tilt.js";

/**
 * @typedef {import("./pixels.js").Image} Image
 * @typedef {import("./pixels.js").Matrix} Matrix
 * @typedef {import("./yunet.js").Row} Row
 * @typedef {import("./yunet.js").Finder} Finder
 * @typedef {import("./tilt.js").TiltPredictor} TiltPredictor
 */

const SURE_TILT = 10, SURE_SCORE = 0.92;
const PROFILE_WEIGHT = 0.05, PROFILE_TILT = 5;
export const FRONTAL = [[-0.43, -0.5], [0.43, -0.5], [0, 0], [-0.36, 0.5], [0.36, 0.5]];
const CERTAIN = 0.5, CLEAR_SCORE = 0.8, KEPT_SCORE = 0.86;
const UPRIGHT = 12, AGREEING = 12, MOST_TILT = 27;
const CONFIRMED_SCORE = 0.8, LEAST_SCORE = 0.6, CONFIRMING_SCORE = 0.7;
const LEVEL = 25, TURNED = 30;
const OFF = 8, MOST_LOSS = 0.05;
const LOOK_SIDE = 128, FACE_SIZE = 0.46, MOST_SIZE = 2;

/** Whether a face may lie otherwise than its landmarks say. @param {Row} row */
export function isDoubtful(row) {
  return Math.abs(tiltOf(row)) > SURE_TILT || scoresLow(row);
}

/** @param {Row} row */
function scoresLow(row) {
  const low = row[14] < Math.fround(SURE_SCORE);
  if (low && Math.abs(tiltOf(row)) <= PROFILE_TILT) return row[14] + PROFILE_WEIGHT * misfitOf(row) < SURE_SCORE;
  return low;
}

/** How badly the landmarks fit a frontal face moved, turned and scaled onto them: 0 (best) to 1. @param {Row} row */
function misfitOf(row) {
  const marks = centred([0, 1, 2, 3, 4].map((i) => [row[4 + 2 * i], row[5 + 2 * i]]));
  const face = centred(FRONTAL);
  const [real, imaginary] = marks.reduce(
    ([r, i], [x, y], k) => [r + face[k][0] * x + face[k][1] * y, i + face[k][0] * y - face[k][1] * x],
    [0, 0],
  );
  const spread = norm(marks) * norm(face);
  const fit = spread > 0 ? Math.hypot(real, imaginary) / spread : 0;
  return Math.sqrt(Math.max(1 - fit * fit, 0));
}

/** @param {number[][]} points */
function centred(points) {
  const mean = [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
  return points.map(([x, y]) => [x - mean[0], y - mean[1]]);
}

/** @param {number[][]} points */
const norm = (points) => Math.hypot(...points.flat());

/** By how many degrees the face is turned, from its eyes and mouth. @param {Row} row */
function tiltOf(row) {
  const across = [row[6] - row[4] + (row[12] - row[10]), row[7] - row[5] + (row[13] - row[11])];
  return (Math.atan2(across[1], across[0]) * 180) / Math.PI;
}

/**
 * The best look at a doubtful face; the row itself if there is none; null for a low score that no look confirms.
 * @param {Finder} find @param {TiltPredictor} predictTilt @param {Image} image @param {Row} row
 * @returns {Promise<Row | null>}
 */
export async function uprightLook(find, predictTilt, image, row) {
  const looks = new Looks(find, image, row);
  const tilt = tiltOf(row);
  const [angle, probability] = await predictTilt(looks.surroundings());
  const certain = probability >= CERTAIN;
  const upright = certain && Math.abs(angle) <= UPRIGHT;
  const agrees = certain && apart(angle, tilt) <= AGREEING && Math.abs(tilt) <= MOST_TILT;
  const confirmed = row[14] >= Math.fround(CONFIRMED_SCORE);
  if (confirmed && (upright || agrees)) return row;
  if (!certain && !scoresLow(row)) return row;
  let best = await looks.look(angle);
  if (best[14] < Math.fround(CLEAR_SCORE) && !upright) {
    if (row[14] >= Math.fround(KEPT_SCORE) && Math.abs(tilt) <= LEVEL) return row;
    for (const turn of [90, 180, 270]) {
      const look = await looks.look(angle + turn);
      if (look[14] > best[14]) best = look;
    }
  }
  if (best[14] < Math.fround(confirmed ? LEAST_SCORE : Math.min(row[14], CONFIRMING_SCORE))) {
    return confirmed ? row : null;
  }
  return apart(tiltOf(best), tilt) <= TURNED ? best : lookedAgain(find, predictTilt, image, best);
}

/**
 * The look at a face whose box lay otherwise before, or a better one.
 * @param {Finder} find @param {TiltPredictor} predictTilt @param {Image} image @param {Row} best
 */
async function lookedAgain(find, predictTilt, image, best) {
  const looks = new Looks(find, image, best);
  const [angle, probability] = await predictTilt(looks.surroundings());
  if (probability < CERTAIN || apart(angle, tiltOf(best)) <= OFF) return best;
  const look = await looks.look(angle);
  return look[14] >= best[14] - MOST_LOSS ? look : best;
}

/** How many degrees lie between two angles. @param {number} angle @param {number} other */
const apart = (angle, other) => Math.abs(((((angle - other + 180) % 360) + 360) % 360) - 180);

/** Looks at one face of an image, at any angle. */
export class Looks {
  /** @param {Finder} find @param {Image} image @param {Row} row */
  constructor(find, image, row) {
    this.find = find;
    this.centre = [row[0] + row[2] / 2, row[1] + row[3] / 2];
    this.face = Math.min(Math.max(row[2], row[3], 1), MOST_SIZE * Math.max(image.width, image.height));
    this.cut = cutOut(image, this.centre, (LOOK_SIDE * FACE_SIZE) / this.face);
  }

  /** The face as the network of its tilt takes it. */
  surroundings() {
    const { image, toCut } = this.cut;
    const length = Math.max(round(FIELD * this.face * toCut[0]), 1);
    const [left, top] = [0, 1].map((i) => round(toCut[0] * this.centre[i] + toCut[2 + 3 * i] - length / 2));
    let part = blank(length, length);
    part.data.fill(GRAY);
    const [first, last] = [Math.max(left, 0), Math.min(left + length, image.width)];
    for (let y = Math.max(top, 0); y < Math.min(top + length, image.height); y++) {
      paste(image, part, first, y, last - first, first - left, y - top);
    }
    if (length >= 2 * INPUT_SIDE) part = halved(part);
    return resize(part, INPUT_SIDE, INPUT_SIDE, true);
  }

  /**
   * The best level face near the centre, the image turned back by `angle`; zeros if there is none.
   * @param {number} angle
   */
  async look(angle) {
    const scale = (LOOK_SIDE * FACE_SIZE) / this.face;
    const [cos, sin] = [Math.cos((angle * Math.PI) / 180) * scale, Math.sin((angle * Math.PI) / 180) * scale];
    const [x, y] = this.centre;
    const half = LOOK_SIDE / 2;
    /** @type {Matrix} */
    const matrix = [cos, sin, half - cos * x - sin * y, -sin, cos, half + sin * x - cos * y];
    const { image, toCut } = this.cut;
    const [p, q, r, s] = [cos / toCut[0], sin / toCut[4], -sin / toCut[0], cos / toCut[4]];
    const dx = matrix[2] - p * toCut[2] - q * toCut[5] + (p + q) / 2 - 0.5;
    const dy = matrix[5] - r * toCut[2] - s * toCut[5] + (r + s) / 2 - 0.5;
    const look = warp(image, [p, q, dx, r, s, dy], LOOK_SIDE, "gray");
    const rows = (await this.find(look, LEAST_SCORE)).filter((row) => {
      const away = Math.hypot(row[0] + row[2] / 2 - half, row[1] + row[3] / 2 - half);
      return away < LOOK_SIDE * FACE_SIZE / 2 && Math.abs(tiltOf(row)) <= LEVEL;
    });
    if (!rows.length) return new Float32Array(15);
    return placed(rows.reduce((a, b) => (b[14] > a[14] ? b : a)), matrix, angle);
  }
}

/**
 * The face's surroundings, of at least the look's resolution and less than twice as much, and the matrix to there.
 * @param {Image} image @param {number[]} centre @param {number} scale
 * @returns {{ image: Image, toCut: Matrix }}
 */
function cutOut(image, centre, scale) {
  const reach = (LOOK_SIDE / scale) * 0.75;
  const sides = [image.width, image.height];
  const first = centre.map((value, i) => Math.min(Math.max(Math.floor(value - reach), 0), sides[i] - 1));
  const last = centre.map((value, i) => Math.min(Math.max(Math.ceil(value + reach), first[i] + 1), sides[i]));
  let part = cut(image, first[0], first[1], last[0], last[1]);
  let shrink = 1;
  for (; scale < 0.5 * shrink; shrink /= 2) part = halved(part);
  return { image: part, toCut: [shrink, 0, -first[0] * shrink, 0, shrink, -first[1] * shrink] };
}

/** The image with half as many pixels along each side, each the mean of four. @param {Image} image */
function halved(image) {
  const [width, height] = [image.width, image.height].map((side) => Math.max(Math.floor(side / 2), 1));
  return resize(cut(image, 0, 0, Math.min(2 * width, image.width), Math.min(2 * height, image.height)), width, height);
}

/**
 * A look's row in the image's pixels. The box is the one around the turned ellipse that the box held.
 * @param {Row} row @param {Matrix} matrix from the image to the look @param {number} angle
 */
function placed(row, matrix, angle) {
  const back = inverse(matrix);
  const scale = Math.hypot(back[0], back[1]);
  const [cos, sin] = [Math.cos((angle * Math.PI) / 180), Math.sin((angle * Math.PI) / 180)];
  const [width, height] = [row[2] * scale, row[3] * scale];
  const sides = [Math.hypot(width * cos, height * sin), Math.hypot(width * sin, height * cos)];
  /** @param {number} x @param {number} y */
  const point = (x, y) => [back[0] * x + back[1] * y + back[2], back[3] * x + back[4] * y + back[5]];
  const [x, y] = point(row[0] + row[2] / 2, row[1] + row[3] / 2);
  const marks = [0, 1, 2, 3, 4].flatMap((i) => point(row[4 + 2 * i], row[5 + 2 * i]));
  return new Float32Array([x - sides[0] / 2, y - sides[1] / 2, ...sides, ...marks, row[14]]);
}

/**
 * Rows found in an image turned by quarter turns in the pixels of the image, which is width x height.
 * @param {Row[]} rows @param {number} turns @param {number} width @param {number} height
 */
export function turnedBack(rows, turns, width, height) {
  /** @param {number} x @param {number} y */
  const point = (x, y) => [[x, y], [width - y, x], [width - x, height - y], [y, height - x]][turns];
  return rows.map((row) => {
    const [a, b] = [point(row[0], row[1]), point(row[0] + row[2], row[1] + row[3])];
    const marks = [0, 1, 2, 3, 4].flatMap((i) => point(row[4 + 2 * i], row[5 + 2 * i]));
    const corner = [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
    return new Float32Array([...corner, Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1]), ...marks, row[14]]);
  });
}
