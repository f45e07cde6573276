// Find the upright orientation of a face that may be turned; see mien/vision/turn.py, whose numbers these are.
import { blank, cut, inverse, paste, resize, round, warp } from "./pixels.js";

/**
 * @typedef {import("./pixels.js").Image} Image
 * @typedef {import("./pixels.js").Matrix} Matrix
 * @typedef {import("./yunet.js").Row} Row
 * @typedef {import("./yunet.js").Finder} Finder
 */

const SURE_SCORE = 0.92, SURE_TILT = 30;
export const BACKGROUND_RATIO = 1.5;
const PROFILE_WEIGHT = 0.1;
const FRONTAL = [[-0.43, -0.5], [0.43, -0.5], [0, 0], [-0.36, 0.5], [0.36, 0.5]];
const CONFIRMED_SCORE = 0.8, CONFIRMING_SCORE = 0.7;
const LEAST_GAIN = 0.01;
const QUARTERS = [0, 90, 180, 270], BETWEEN = [30, 60, 120, 150, 210, 240, 300, 330];
const STEP = 25;
const CLEAR_GAIN = 0.05, CLEAR_LOSS = 0.03, CLEAR_TILT = 10;
const SMALLEST_SIDE = 64, SMALL_SIDE = 96, LOOK_SIDE = 128;
const FACE_SIZE = 0.46;
const LEAST_SCORE = 0.5;
const COLUMNS = 2;

/** Whether a face may lie otherwise than its landmarks say. @param {Row} row */
export function isDoubtful(row) {
  if (Math.abs(tiltOf(row)) > SURE_TILT) return true;
  return row[14] < Math.fround(SURE_SCORE) && row[14] + PROFILE_WEIGHT * misfitOf(row) < SURE_SCORE;
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
 * The best look at a doubtful face; the row itself if none is better; null for a low score that no look confirms.
 * @param {Finder} find @param {Image} image @param {Row} row
 * @returns {Promise<Row | null>}
 */
export async function uprightLook(find, image, row) {
  const looks = new Looks(find, image, row);
  const tilt = tiltOf(row);
  /** @type {Map<number, number>} */
  const scores = new Map();
  await looks.scores(QUARTERS, tilt, scores);
  const score = (/** @type {number} */ angle) => scores.get((angle + 360) % 360) ?? 0;
  const others = Math.max(score(90), score(180), score(270));
  if (score(0) >= Math.max(CONFIRMING_SCORE, row[14] - CLEAR_LOSS, others + CLEAR_GAIN)) {
    return Math.abs(tilt) <= CLEAR_TILT ? row : better(await bestNear(looks, tilt), row);
  }
  await looks.scores(BETWEEN, tilt, scores);
  const top = [...scores.keys()].reduce((a, b) => (score(b) > score(a) ? b : a));
  if (row[14] < Math.fround(CONFIRMED_SCORE) && score(top) < Math.min(row[14], CONFIRMING_SCORE)) return null;
  const level = top === 0 && Math.abs(tilt) <= CLEAR_TILT;
  if (score(top) <= (level ? row[14] : LEAST_SCORE)) return row;
  const look = await bestNear(looks, tilt + top + 30 * peak(score(top - 30), score(top), score(top + 30)));
  if ([330, 0, 30].includes(top)) return better(look, row);
  return look[14] > LEAST_SCORE ? look : row;
}

/**
 * The same for a doubtful face beside a larger one that is not: in most cases without looks at all angles.
 * @param {Finder} find @param {Image} image @param {Row} row
 * @returns {Promise<Row | null>}
 */
export async function backgroundLook(find, image, row) {
  if (row[14] >= Math.fround(CONFIRMED_SCORE) && Math.abs(tiltOf(row)) <= SURE_TILT) return row;
  /** @type {Map<number, number>} */
  const scores = new Map();
  await new Looks(find, image, row).scores(QUARTERS, tiltOf(row), scores, SMALLEST_SIDE);
  const [upright, ...others] = QUARTERS.map((angle) => scores.get(angle) ?? 0);
  if (upright >= Math.max(CONFIRMING_SCORE, Math.max(...others) + CLEAR_GAIN)) return row;
  return uprightLook(find, image, row);
}

/** The look if it scores clearly more than the row, else the row. @param {Row} look @param {Row} row */
const better = (look, row) => (look[14] > row[14] + LEAST_GAIN ? look : row);

/**
 * The best look around the angle: near the upright one the scores are flat, looks far to both sides tell the middle.
 * @param {Looks} looks @param {number} angle
 */
async function bestNear(looks, angle) {
  const around = [];
  for (const step of [-STEP, 0, STEP]) around.push(await looks.look(angle + step));
  const atPeak = await looks.look(angle + STEP * peak(around[0][14], around[1][14], around[2][14]));
  const best = [atPeak, ...around].reduce((a, b) => (b[14] > a[14] ? b : a));
  return atPeak[14] > best[14] - LEAST_GAIN ? atPeak : best;
}

/**
 * Where the parabola through three scores at -1, 0 and 1 is highest, no farther from 0 than 0.6.
 * @param {number} before @param {number} middle @param {number} after
 */
function peak(before, middle, after) {
  const bend = before - 2 * middle + after;
  return bend >= 0 ? 0 : Math.min(Math.max((before - after) / (2 * bend), -0.6), 0.6);
}

/** Looks at one face of an image, at any angle. */
class Looks {
  /** @param {Finder} find @param {Image} image @param {Row} row */
  constructor(find, image, row) {
    this.find = find;
    this.centre = [row[0] + row[2] / 2, row[1] + row[3] / 2];
    this.face = Math.max(row[2], row[3]);
    this.cut = cutOut(image, this.centre, (LOOK_SIDE * FACE_SIZE) / this.face);
  }

  /**
   * Add the score at each angle from the tilt, from one small picture of all.
   * @param {number[]} angles @param {number} tilt @param {Map<number, number>} scores
   * @param {number} [side] of the squares, in pixels
   */
  async scores(angles, tilt, scores, side = this.face * 1.5 > SMALL_SIDE * FACE_SIZE ? SMALL_SIDE : SMALLEST_SIDE) {
    const sheet = blank(COLUMNS * side, (angles.length / COLUMNS) * side);
    angles.forEach((angle, index) => {
      const tile = this.turned(tilt + angle, side).look;
      const [left, top] = [(index % COLUMNS) * side, Math.floor(index / COLUMNS) * side];
      for (let y = 0; y < side; y++) paste(tile, sheet, 0, y, side, left, top + y);
      scores.set(angle, 0);
    });
    for (const row of await this.find(sheet, LEAST_SCORE)) {
      const [x, y] = [0, 1].map((i) => (row[i] + row[2 + i] / 2) / side);
      const angle = angles[Math.trunc(y) * COLUMNS + Math.trunc(x)];
      const away = Math.hypot(x - Math.floor(x) - 0.5, y - Math.floor(y) - 0.5);
      if (angle !== undefined && away < FACE_SIZE / 2) scores.set(angle, Math.max(scores.get(angle) ?? 0, row[14]));
    }
  }

  /**
   * The face turned back by `angle` in a square, and the matrix from the image to there.
   * @param {number} angle @param {number} side
   */
  turned(angle, side) {
    const scale = (side * FACE_SIZE) / this.face;
    const [cos, sin] = [Math.cos((angle * Math.PI) / 180) * scale, Math.sin((angle * Math.PI) / 180) * scale];
    const [x, y] = this.centre;
    /** @type {Matrix} */
    const matrix = [cos, sin, side / 2 - cos * x - sin * y, -sin, cos, side / 2 + sin * x - cos * y];
    const { image, toCut } = this.cut;
    const [p, q, r, s] = [cos / toCut[0], sin / toCut[4], -sin / toCut[0], cos / toCut[4]];
    const dx = matrix[2] - p * toCut[2] - q * toCut[5] + (p + q) / 2 - 0.5;
    const dy = matrix[5] - r * toCut[2] - s * toCut[5] + (r + s) / 2 - 0.5;
    return { look: warp(image, [p, q, dx, r, s, dy], side, "gray"), matrix };
  }

  /**
   * The best face near the centre, the image turned back by `angle`; zeros if there is none.
   * @param {number} angle
   */
  async look(angle) {
    const { look, matrix } = this.turned(angle, LOOK_SIDE);
    const rows = (await this.find(look, LEAST_SCORE)).filter((row) => {
      const away = Math.hypot(row[0] + row[2] / 2 - LOOK_SIDE / 2, row[1] + row[3] / 2 - LOOK_SIDE / 2);
      return away < (LOOK_SIDE * FACE_SIZE) / 2;
    });
    if (!rows.length) return new Float32Array(15);
    return placed(rows.reduce((a, b) => (b[14] > a[14] ? b : a)), matrix, angle);
  }
}

/**
 * The face's surroundings, shrunk to about twice the look's resolution, and the matrix to there.
 * @param {Image} image @param {number[]} centre @param {number} scale
 * @returns {{ image: Image, toCut: Matrix }}
 */
function cutOut(image, centre, scale) {
  const reach = (LOOK_SIDE / scale) * 0.75;
  const sides = [image.width, image.height];
  const first = centre.map((value, i) => Math.min(Math.max(Math.floor(value - reach), 0), sides[i] - 1));
  const last = centre.map((value, i) => Math.min(Math.max(Math.ceil(value + reach), first[i] + 1), sides[i]));
  let part = cut(image, first[0], first[1], last[0], last[1]);
  let shrink = [1, 1];
  if (scale < 0.5) {
    const size = [0, 1].map((i) => Math.max(round((last[i] - first[i]) * scale * 1.5), 1));
    part = resize(part, size[0], size[1]);
    shrink = size.map((length, i) => length / (last[i] - first[i]));
  }
  return { image: part, toCut: [shrink[0], 0, -first[0] * shrink[0], 0, shrink[1], -first[1] * shrink[1]] };
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
