// Search a photo for faces of every size; see mien/vision/search.py, whose numbers these are.
import { cut, padded, resize, round, shrunk } from "./pixels.js";

/**
 * @typedef {import("./pixels.js").Image} Image
 * @typedef {import("./yunet.js").Row} Row
 * @typedef {import("./yunet.js").Finder} Finder
 */

const COARSE_SIDE = 320;
export const SINGLE_SIDE = 640;
const STEP = 32, LEAST_FITTING = 0.95;
const BASE_SIDE = 1024, BASE_SCALE = 0.25;
const FINE_SIDE = 2000, FINE_SCALE = 0.6;
const FACTORS = [8, 4, 2], LEAST_LONG_SIDE = 1600, SHORTFALL = 0.9, EXCESS = 1.25;
const PLACES = [[24, 0.03], [32, 0.2]], PLACE_SCORE = 0.03;
const TINY_PLACES = [[48, 0.01]], TINY_SCORE = 0.01;
const WINDOW_SIDE = 80, WINDOW_MARGIN = 16;
const WINDOW_ZOOM = 2.4, TRACE_SCORE = 0.15, FINER_SCORE = 0.25;
const LEAST_FINER = 1.4, MOST_WINDOW_ZOOM = 4.0, MOST_ZOOM = 2.0;
const FEW_WINDOWS = 8, TINY = 40;
const WINDOWS_WITHOUT = 12;
const TILE_SIDE = 768, TILE_SHARED = 64;
const EDGE = 3;
const BLOCK_SIDE = 16, BLOCK_CONTRAST = 24;

/**
 * The faces of all sizes, overlapping ones too, in the image's pixels.
 * @param {Finder} find @param {Image} image @param {number} threshold
 */
export async function searchPhoto(find, image, threshold) {
  const longSide = Math.max(image.width, image.height);
  if (longSide <= SINGLE_SIDE) {
    const small = shrunk(image, fitting(longSide));
    return scaled(await find(small, threshold), small, image);
  }
  const base = about(image, Math.max(BASE_SIDE, round(longSide * BASE_SCALE)));
  const coarse = shrunk(base, COARSE_SIDE);
  /** @type {Row[]} */
  const found = scaled(await find(coarse, threshold), coarse, image);
  const baseSide = Math.max(base.width, base.height);
  const isReduced = longSide > LEAST_FINER * baseSide;
  const tiny = isReduced ? (TINY * base.height) / image.height : 0;
  const { rows, traces } = await withWindows(find, base, await find(base, PLACE_SCORE), threshold, tiny);
  found.push(...scaled(rows, base, image));
  const fine = Math.min(round(longSide * FINE_SCALE), FINE_SIDE);
  if (areTiny(traces, tiny)) {
    const seen = await searchTiles(find, image, TINY_SCORE);
    found.push(...(await withWindows(find, image, seen, threshold, 0, TINY_PLACES)).rows);
  } else if (traces.length > FEW_WINDOWS && fine > LEAST_FINER * baseSide) {
    const finer = about(image, fine);
    const more = await withWindows(find, finer, await find(finer, PLACE_SCORE), threshold);
    found.push(...scaled(more.rows, finer, image));
  } else if (isReduced) {
    const ratio = image.width / base.width;
    const zoom = Math.min(Math.max(ratio, WINDOW_ZOOM), MOST_WINDOW_ZOOM, MOST_ZOOM * ratio);
    for (const { corner, shown } of traces) {
      if (shown.every((row) => row[14] >= Math.fround(threshold)) || !isWorthFiner(shown)) continue;
      found.push(...(await searchWindow(find, image, base, corner, zoom, threshold)));
    }
  }
  return found;
}

/** The next lower multiple of `STEP` where it is hardly smaller. @param {number} side */
function fitting(side) {
  const lower = Math.floor(side / STEP) * STEP;
  return lower >= LEAST_FITTING * side ? lower : side;
}

/**
 * The image with its long side at most `side` pixels; a large one at a half, a quarter or an eighth of its size if that
 * is near, as a decoder of JPEG files gives it.
 * @param {Image} image @param {number} side
 */
function about(image, side) {
  const longSide = Math.max(image.width, image.height);
  const factor = FACTORS.find((factor) => Math.ceil(longSide / factor) >= side * SHORTFALL);
  if (longSide < LEAST_LONG_SIDE || !factor || Math.ceil(longSide / factor) > side * EXCESS) return shrunk(image, side);
  return resize(image, Math.ceil(image.width / factor), Math.ceil(image.height / factor), false);
}

/** Whether a window is worth searching in finer pixels. @param {Row[]} shown */
const isWorthFiner = (shown) => shown.some((row) => row[14] >= Math.fround(FINER_SCORE));

/**
 * Whether there are many windows that may show a face, and half of what they show is at most this high.
 * @param {{ shown: Row[] }[]} traces @param {number} height
 */
function areTiny(traces, height) {
  if (traces.length <= FEW_WINDOWS) return false;
  const heights = traces.flatMap(({ shown }) => shown.map((row) => row[3])).sort((a, b) => a - b);
  const middle = heights.length >> 1;
  return (heights.length % 2 ? heights[middle] : (heights[middle - 1] + heights[middle]) / 2) <= height;
}

/**
 * The faces up to `TILE_SHARED` pixels high, in tiles of the image's own size; flat tiles are left out.
 * @param {Finder} find @param {Image} image @param {number} threshold
 */
async function searchTiles(find, image, threshold) {
  /** @type {Row[]} */
  const found = [];
  for (const top of tileStarts(image.height)) {
    for (const left of tileStarts(image.width)) {
      const last = [Math.min(left + TILE_SIDE, image.width), Math.min(top + TILE_SIDE, image.height)];
      const tile = cut(image, left, top, last[0], last[1]);
      if (isFlat(tile)) continue;
      const first = [left, top];
      const ends = [left + TILE_SIDE >= image.width, top + TILE_SIDE >= image.height];
      const rows = (await find(tile, threshold)).filter((row) => {
        return row[3] <= TILE_SHARED && isUncut(row, [TILE_SIDE, TILE_SIDE], first.map((value) => value === 0), ends);
      });
      found.push(...moved(rows, left, top));
    }
  }
  return found;
}

/** @param {number} side */
function tileStarts(side) {
  const step = TILE_SIDE - TILE_SHARED;
  return Array.from({ length: Math.ceil(Math.max(side - TILE_SHARED, 1) / step) }, (_, index) => index * step);
}

/**
 * Whether no block of the tile has contrast enough for a face.
 * @param {Image} tile
 */
function isFlat(tile) {
  const small = resize(tile, Math.max(round(tile.width / 4), 1), Math.max(round(tile.height / 4), 1), false);
  const side = BLOCK_SIDE / 4;
  /** @param {number} end @param {number} length */
  const from = (end, length) => [Math.max(end - side, 0), Math.min(end, length)];
  for (let y = side / 2; y < small.height + side / 2; y++) {
    const [top, bottom] = from(y, small.height);
    for (let x = side / 2; x < small.width + side / 2; x++) {
      const [left, right] = from(x, small.width);
      let least = 255, most = 0;
      for (let row = top; row < bottom; row++) {
        for (let column = left; column < right; column++) {
          const green = small.data[(row * small.width + column) * 3 + 1];
          least = Math.min(least, green);
          most = Math.max(most, green);
        }
      }
      if (most - least >= BLOCK_CONTRAST) return false;
    }
  }
  return true;
}

/**
 * Whether the edges of a window of this size do not cut a row; `begins` and `ends` say which edges (x, y) are the
 * photo's own, which cut nothing more.
 * @param {Row} row @param {number[]} size @param {boolean[]} begins @param {boolean[]} ends
 */
function isUncut(row, size, begins, ends) {
  return [0, 1].every((i) => {
    return (row[i] > EDGE || begins[i]) && (Math.fround(row[i] + row[2 + i]) < size[i] - EDGE || ends[i]);
  });
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
 * @param {Row[]} seen @param {number} threshold @param {number[][]} where
 */
function places(seen, threshold, where) {
  const sure = seen.filter((row) => row[14] >= Math.fround(threshold));
  return seen
    .filter((row) => row[14] < Math.fround(threshold))
    .filter((row) => where.some(([high, score]) => row[3] <= high && row[14] >= Math.fround(score)))
    .sort((a, b) => b[14] - a[14])
    .map((row) => [row[0] + row[2] / 2, row[1] + row[3] / 2])
    .filter(([x, y]) => !sure.some((f) => x >= f[0] && y >= f[1] && x <= f[0] + f[2] && y <= f[1] + f[3]));
}

/**
 * The faces seen and those of enlarged windows around the unsure places, until too many windows show none, or many show
 * faces at most `tiny` high; and the windows that may show a face.
 * @param {Finder} find @param {Image} image @param {Row[]} seen @param {number} threshold @param {number} [tiny]
 * @param {number[][]} [where]
 */
async function withWindows(find, image, seen, threshold, tiny = 0, where = PLACES) {
  const rows = seen.filter((row) => row[14] >= Math.fround(threshold));
  const traces = [];
  let without = 0;
  for (const corner of windowCorners(places(seen, threshold, where))) {
    const shown = await searchWindow(find, image, image, corner, WINDOW_ZOOM, Math.min(TRACE_SCORE, threshold));
    if (shown.length) traces.push({ corner, shown });
    rows.push(...shown.filter((row) => row[14] >= Math.fround(threshold)));
    without = shown.length ? 0 : without + 1;
    if (without === WINDOWS_WITHOUT || areTiny(traces, tiny)) break;
  }
  return { rows, traces };
}

/**
 * The faces of one window of the base, in the image's pixels.
 * @param {Finder} find @param {Image} image @param {Image} base @param {number[]} corner @param {number} zoom
 * @param {number} threshold
 */
async function searchWindow(find, image, base, corner, zoom, threshold) {
  const ratio = [image.width / base.width, image.height / base.height];
  const limits = [image.width, image.height];
  const first = corner.map((value, i) => clip(Math.floor(value * ratio[i]), limits[i]));
  const last = corner.map((value, i) => clip(Math.ceil((value + WINDOW_SIDE) * ratio[i]), limits[i]));
  const window = cut(image, first[0], first[1], last[0], last[1]);
  const size = [0, 1].map((i) => Math.max(round(((last[i] - first[i]) * zoom) / ratio[i]), 1));
  const large = resize(window, size[0], size[1], zoom >= ratio[0]);
  const begins = first.map((value) => value === 0);
  const ends = last.map((value, i) => value === limits[i]);
  const rows = (await find(large, threshold)).filter((row) => isUncut(row, size, begins, ends));
  return moved(scaled(rows, large, window), first[0], first[1]);
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
