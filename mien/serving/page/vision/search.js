// Search a photo for faces of every size; see mien/vision/search.py, whose numbers these are.
import { cut, padded, resize, round, shrunk } from "./pixels.js";

/**
 * @typedef {import("./pixels.js").Image} Image
 * @typedef {import("./yunet.js").Row} Row
 * @typedef {import("./yunet.js").Finder} Finder
 */

const COARSE_SIDE = 320;
export const SINGLE_SIDE = 640;
const BASE_SIDE = 1024, LONGEST_BASE_SIDE = 2000, BASE_SCALE = 0.6;
const PLACE_SCORE = 0.03, PLACE_HEIGHT = 32;
const WINDOW_SIDE = 80, WINDOW_MARGIN = 16;
const WINDOW_ZOOM = 2.5, MOST_ZOOM = 2.0;
const WINDOWS_WITHOUT = 16;

/**
 * The faces of all sizes, overlapping ones too, in the image's pixels.
 * @param {Finder} find @param {Image} image @param {number} threshold
 */
export async function searchPhoto(find, image, threshold) {
  const longSide = Math.max(image.width, image.height);
  if (longSide <= SINGLE_SIDE) return find(image, threshold);
  const base = shrunk(image, Math.min(Math.max(round(longSide * BASE_SCALE), BASE_SIDE), LONGEST_BASE_SIDE));
  const seen = await find(base, PLACE_SCORE);
  const sure = seen.filter((row) => row[14] >= Math.fround(threshold));
  const coarse = shrunk(base, COARSE_SIDE);
  return [
    ...scaled(await find(coarse, threshold), coarse, image),
    ...scaled(sure, base, image),
    ...(await searchWindows(find, image, base, places(seen, sure, threshold), threshold)),
  ];
}

/**
 * Rows found in a resized image in the pixels of the image itself.
 * @param {Row[]} rows @param {Image} searched @param {Image} image
 */
export function scaled(rows, searched, image) {
  const factors = [image.width / searched.width, image.height / searched.height];
  return rows.map((row) => row.map((value, i) => (i < 14 ? value * factors[i % 2] : value)));
}

/**
 * Move rows by whole pixels.
 * @param {Row[]} rows @param {number} dx @param {number} dy
 */
function moved(rows, dx, dy) {
  const by = [dx, dy];
  return rows.map((row) => row.map((value, i) => (i < 2 || (i >= 4 && i < 14) ? value + by[i % 2] : value)));
}

/**
 * The centres of small boxes that may be faces and lie in no face found, best scored first.
 * @param {Row[]} seen @param {Row[]} sure @param {number} threshold
 */
function places(seen, sure, threshold) {
  return seen
    .filter((row) => row[14] < Math.fround(threshold) && row[3] <= PLACE_HEIGHT)
    .sort((a, b) => b[14] - a[14])
    .map((row) => [row[0] + row[2] / 2, row[1] + row[3] / 2])
    .filter(([x, y]) => !sure.some((f) => x >= f[0] && y >= f[1] && x <= f[0] + f[2] && y <= f[1] + f[3]));
}

/**
 * The faces of enlarged windows around the places, in the image's pixels, until too many windows show none.
 * @param {Finder} find @param {Image} image @param {Image} base @param {number[][]} centres
 * @param {number} threshold
 */
async function searchWindows(find, image, base, centres, threshold) {
  const ratio = [image.width / base.width, image.height / base.height];
  const limits = [image.width, image.height];
  const zoom = Math.min(WINDOW_ZOOM, MOST_ZOOM * ratio[0]);
  const found = [];
  let without = 0;
  for (const corner of windowCorners(centres)) {
    const first = corner.map((value, i) => clip(Math.floor(value * ratio[i]), limits[i]));
    const last = corner.map((value, i) => clip(Math.ceil((value + WINDOW_SIDE) * ratio[i]), limits[i]));
    const window = cut(image, first[0], first[1], last[0], last[1]);
    const size = [0, 1].map((i) => Math.max(round(((last[i] - first[i]) * zoom) / ratio[i]), 1));
    const large = resize(window, size[0], size[1], zoom >= ratio[0]);
    const rows = moved(scaled(await find(large, threshold), large, window), first[0], first[1]);
    found.push(...rows);
    without = rows.length ? 0 : without + 1;
    if (without === WINDOWS_WITHOUT) break;
  }
  return found;
}

/** @param {number} value @param {number} limit */
const clip = (value, limit) => Math.min(Math.max(value, 0), limit);

/**
 * The left upper corners of windows that together hold all places inside their margins, in the order of the places.
 * @param {number[][]} centres
 */
function windowCorners(centres) {
  const core = WINDOW_SIDE - 2 * WINDOW_MARGIN;
  const cells = new Map(centres.map((centre) => {
    const cell = centre.map((value) => Math.floor(value / core));
    return [cell.join(), cell];
  }));
  return [...cells.values()].map((cell) => cell.map((value) => value * core - WINDOW_MARGIN));
}

/**
 * Search with half the image's size added on every side: a face cut by the frame is found so.
 * @param {Finder} find @param {Image} image @param {number} threshold
 */
export async function searchWithMargin(find, image, threshold) {
  const small = shrunk(image, COARSE_SIDE / 2);
  const margin = Math.floor(Math.max(small.width, small.height) / 2);
  const rows = await find(padded(small, margin), threshold);
  return scaled(moved(rows, -margin, -margin), small, image);
}
