// Detect faces with five landmarks; see mien/vision/detect.py, whose numbers these are.
import { quarterTurned, round, shrunk } from "./pixels.js";
import { scaled, searchPhoto, searchWithMargin, SINGLE_SIDE } from "./search.js";
import { FRONTAL, isDoubtful, turnedBack, uprightLook } from "./turn.js";
import { bestOfOverlapping, sharedArea } from "./yunet.js";

/**
 * @typedef {import("./pixels.js").Image} Image
 * @typedef {import("./yunet.js").Row} Row
 * @typedef {import("./yunet.js").Finder} Finder
 * @typedef {import("./tilt.js").TiltPredictor} TiltPredictor
 * `box`: x, y, width, height in whole pixels, inside the image; `landmarks`: five (x, y).
 * @typedef {{ box: number[], score: number, landmarks: number[][] }} Detection
 */

const SCORE_THRESHOLD = 0.6;
const TURNED_SCORE = 0.7;
const MOST_WEAK = 5, WEAK_SCORE = 0.3;
const MIDDLE_SIZES = [0.35, 0.5, 0.7], MIDDLE_SCORE = 0.8;
const MOST_SHARED = 0.5, INNER_SCORE = 0.8;

/**
 * All faces of a photo, the largest first.
 * @param {Finder} find @param {TiltPredictor} predictTilt @param {Image} image
 */
export async function detect(find, predictTilt, image) {
  const upright = bestOfOverlapping(await search(find, image));
  let rows = await lookedAt(find, predictTilt, image, upright);
  if (!rows.length) {
    const weak = await lookedAt(find, predictTilt, image, await searchWeak(find, image));
    const middle = await lookedAt(find, predictTilt, image, middleOf(image));
    rows = bestOfOverlapping([
      ...weak.filter((row) => row[14] >= Math.fround(TURNED_SCORE)),
      ...middle.filter((row) => row[14] >= Math.fround(MIDDLE_SCORE)),
    ]);
  }
  if (!rows.length) {
    const turned = bestOfOverlapping(await searchTurned(find, image));
    rows = await lookedAt(find, predictTilt, image, turned);
    // What no look confirms is better than nothing.
    if (!rows.length) rows = bestOfOverlapping([...upright, ...turned]);
    const scores = new Set(upright.map((row) => row[14]));
    rows = rows.filter((row) => row[14] >= Math.fround(TURNED_SCORE) || scores.has(row[14]));
  }
  const found = apart(rows).map((row) => toDetection(row, image.width, image.height));
  return /** @type {Detection[]} */ (found.filter(Boolean)).sort(largestFirst);
}

/** @param {Detection} a @param {Detection} b */
function largestFirst(a, b) {
  const order = b.box[2] * b.box[3] - a.box[2] * a.box[3];
  return order || a.box.map((value, i) => value - b.box[i]).find((difference) => difference) || 0;
}

/** @param {Finder} find @param {Image} image */
async function search(find, image) {
  const rows = await searchPhoto(find, image, SCORE_THRESHOLD);
  return rows.length ? rows : searchWithMargin(find, image, SCORE_THRESHOLD);
}

/**
 * The best scored places that may show a face at any angle, sure or not.
 * @param {Finder} find @param {Image} image
 */
async function searchWeak(find, image) {
  const small = shrunk(image, SINGLE_SIDE);
  return bestOfOverlapping(scaled(await find(small, WEAK_SCORE), small, image)).slice(0, MOST_WEAK);
}

/** Upright faces of `MIDDLE_SIZES` and score 0 in the middle of an image. @param {Image} image */
function middleOf(image) {
  const [x, y] = [image.width / 2, image.height / 2];
  return MIDDLE_SIZES.map((size) => {
    const side = size * Math.max(image.width, image.height);
    const marks = FRONTAL.flatMap(([across, down]) => [x + (side * across) / 2, y + (side * down) / 2]);
    return new Float32Array([x - side / 2, y - side / 2, side, side, ...marks, 0]);
  });
}

/** @param {Finder} find @param {Image} image */
async function searchTurned(find, image) {
  const small = shrunk(image, SINGLE_SIDE);
  const rows = [];
  for (const turns of [1, 2, 3]) {
    const found = await search(find, quarterTurned(small, turns));
    rows.push(...scaled(turnedBack(found, turns, small.width, small.height), small, image));
  }
  return rows;
}

/**
 * The faces, the doubtful ones looked at again and left out if no look confirms them.
 * @param {Finder} find @param {TiltPredictor} predictTilt @param {Image} image @param {Row[]} found
 */
async function lookedAt(find, predictTilt, image, found) {
  /** @type {Row[]} */
  const confirmed = [];
  for (const row of found) {
    const look = isDoubtful(row) ? await uprightLook(find, predictTilt, image, row) : row;
    if (look) confirmed.push(look);
  }
  return bestOfOverlapping(confirmed);
}

/**
 * Leave out the low scored that share their place with a better scored one.
 * @param {Row[]} rows best first
 */
function apart(rows) {
  /** @type {Row[]} */
  const kept = [];
  for (const row of rows) {
    const shares = kept.some(
      (other) => sharedArea(row, other) / Math.min(row[2] * row[3], other[2] * other[3]) > MOST_SHARED,
    );
    if (row[14] >= Math.fround(INNER_SCORE) || !shares) kept.push(row);
  }
  return kept;
}

/**
 * Clip the box to the image; null when nothing of it is left.
 * @param {Row} row @param {number} width @param {number} height
 */
function toDetection(row, width, height) {
  /** @param {number} value @param {number} limit */
  const clip = (value, limit) => Math.min(Math.max(round(value), 0), limit);
  const [left, top] = [clip(row[0], width), clip(row[1], height)];
  const right = clip(Math.fround(row[0] + row[2]), width);
  const bottom = clip(Math.fround(row[1] + row[3]), height);
  if (right - left < 4 || bottom - top < 4) return null;
  const landmarks = [0, 1, 2, 3, 4].map((i) => [row[4 + 2 * i], row[5 + 2 * i]]);
  return { box: [left, top, right - left, bottom - top], score: Math.min(row[14], 1), landmarks };
}
