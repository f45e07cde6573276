// Resize, warp, cut and turn RGB images exactly as mien's Python does with OpenCV: same arithmetic, same rounding.

/**
 * An image: `data` has height x width x 3 bytes, RGB, row by row.
 * @typedef {{ data: Uint8Array, width: number, height: number }} Image
 * A 2 x 3 matrix, row by row: x' = m[0] x + m[1] y + m[2], y' = m[3] x + m[4] y + m[5].
 * @typedef {[number, number, number, number, number, number]} Matrix
 */

/** The gray beyond the edges of an image. */
export const GRAY = 127;

/**
 * Round halves to even, as OpenCV and Python do.
 * @param {number} value
 */
export function round(value) {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest !== 0.5) return rest < 0.5 ? down : down + 1;
  return down % 2 === 0 ? down : down + 1;
}

/** @param {number} width @param {number} height @returns {Image} */
export function blank(width, height) {
  return { data: new Uint8Array(width * height * 3), width, height };
}

/**
 * Return RGBA pixels, opaque, as an image.
 * @param {ImageData} pixels
 */
export function fromRGBA({ data, width, height }) {
  const image = blank(width, height);
  for (let from = 0, to = 0; to < image.data.length; from += 4, to += 3) {
    image.data[to] = data[from];
    image.data[to + 1] = data[from + 1];
    image.data[to + 2] = data[from + 2];
  }
  return image;
}

/**
 * Resize to the given sides by averaging areas (smaller) or linear interpolation (larger).
 * @param {Image} image @param {number} width @param {number} height @param {boolean} [linear] interpolate in any case
 */
export function resize(image, width, height, linear = width > image.width || height > image.height) {
  if (width === image.width && height === image.height) return image;
  // Halving by interpolation is averaging: OpenCV does so too.
  if (linear && !(image.width === 2 * width && image.height === 2 * height)) return interpolated(image, width, height);
  return averaged(image, width, height);
}

/** Images are shrunk by interpolation down to this; see mien/vision/search.py. */
const INTERPOLATED_SCALE = 2 / 3;

/**
 * The image with its long side at most `side` pixels.
 * @param {Image} image @param {number} side
 */
export function shrunk(image, side) {
  const scale = Math.min(1, side / Math.max(image.width, image.height));
  const size = [image.width, image.height].map((length) => Math.max(round(length * scale), 1));
  return resize(image, size[0], size[1], scale >= INTERPOLATED_SCALE);
}

/**
 * For each output pixel the input pixels that it covers, and by how much: OpenCV's computeResizeAreaTab.
 * @param {number} from @param {number} to
 */
function areaWeights(from, to) {
  const scale = from / to;
  return Array.from({ length: to }, (_, index) => {
    const start = index * scale;
    const end = start + scale;
    const cell = Math.min(scale, from - start);
    const first = Math.ceil(start);
    const last = Math.max(Math.min(Math.floor(end), from - 1), 0);
    const begin = Math.min(first, last);
    /** @type {[number, number][]} */
    const weights = [];
    if (begin - start > 1e-3) weights.push([begin - 1, Math.fround((begin - start) / cell)]);
    for (let pixel = begin; pixel < last; pixel++) weights.push([pixel, Math.fround(1 / cell)]);
    if (end - last > 1e-3) weights.push([last, Math.fround(Math.min(Math.min(end - last, 1), cell) / cell)]);
    return weights;
  });
}

/** @param {Image} image @param {number} width @param {number} height */
function averaged(image, width, height) {
  const result = blank(width, height);
  const columns = areaWeights(image.width, width);
  const rows = areaWeights(image.height, height);
  const whole = image.width % width === 0 && image.height % height === 0;
  const halves = whole && image.width === 2 * width && image.height === 2 * height;
  const line = new Float32Array(width * 3);
  const sum = new Float32Array(width * 3);
  for (let y = 0; y < height; y++) {
    sum.fill(0);
    for (const [row, weight] of rows[y]) {
      averageLine(image, row, columns, line, whole);
      const factor = whole ? 1 : weight;
      for (let i = 0; i < line.length; i++) sum[i] += line[i] * factor;
    }
    const scale = whole ? Math.fround((width * height) / (image.width * image.height)) : 1;
    const offset = y * width * 3;
    for (let i = 0; i < sum.length; i++) {
      result.data[offset + i] = halves ? (sum[i] + 2) >> 2 : round(Math.fround(sum[i] * scale));
    }
  }
  return result;
}

/**
 * @param {Image} image @param {number} row @param {[number, number][][]} columns @param {Float32Array} line
 * @param {boolean} whole sum up instead of weighing
 */
function averageLine(image, row, columns, line, whole) {
  const { data, width } = image;
  for (let x = 0; x < columns.length; x++) {
    let red = 0, green = 0, blue = 0;
    for (const [column, weight] of columns[x]) {
      const at = (row * width + column) * 3;
      const factor = whole ? 1 : weight;
      red = Math.fround(red + Math.fround(data[at] * factor));
      green = Math.fround(green + Math.fround(data[at + 1] * factor));
      blue = Math.fround(blue + Math.fround(data[at + 2] * factor));
    }
    line[3 * x] = red;
    line[3 * x + 1] = green;
    line[3 * x + 2] = blue;
  }
}

/**
 * Both neighbours and their weights, in 1/2048, of each output pixel. At the ends both neighbours are the last pixel;
 * OpenCV then gives one all the weight in columns, and not in rows, which rounds otherwise.
 * @param {number} from @param {number} to @param {boolean} column
 */
function linearWeights(from, to, column) {
  const scale = from / to;
  return Array.from({ length: to }, (_, index) => {
    const place = Math.fround((index + 0.5) * scale - 0.5);
    const left = Math.floor(place);
    const inside = left >= 0 && left < from - 1;
    const part = inside || !column ? Math.fround(place - left) : 0;
    /** @param {number} index */
    const clip = (index) => Math.min(Math.max(index, 0), from - 1);
    return {
      first: clip(left),
      second: clip(left + 1),
      before: round(Math.fround(1 - part) * 2048),
      after: round(part * 2048),
    };
  });
}

/** @param {Image} image @param {number} width @param {number} height */
function interpolated(image, width, height) {
  const result = blank(width, height);
  const columns = linearWeights(image.width, width, true);
  const rows = linearWeights(image.height, height, false);
  /** @param {number} row */
  const line = (row) => {
    const values = new Int32Array(width * 3);
    const start = row * image.width;
    columns.forEach(({ first, second, before, after }, x) => {
      for (let c = 0; c < 3; c++) {
        const left = image.data[(start + first) * 3 + c];
        const right = image.data[(start + second) * 3 + c];
        values[3 * x + c] = left * before + right * after;
      }
    });
    return values;
  };
  rows.forEach(({ first, second, before, after }, y) => {
    const top = line(first);
    const bottom = line(second);
    for (let i = 0; i < top.length; i++) {
      const value = ((before * (top[i] >> 4)) >> 16) + ((after * (bottom[i] >> 4)) >> 16) + 2;
      result.data[y * width * 3 + i] = Math.min(value >> 2, 255);
    }
  });
  return result;
}

/** @param {Matrix} m @returns {Matrix} */
export function inverse([a, b, c, d, e, f]) {
  const determinant = a * e - b * d;
  const scale = determinant !== 0 ? 1 / determinant : 0;
  const [p, q, r, s] = [e * scale, -b * scale, -d * scale, a * scale];
  return [p, q, -p * c - q * f, r, s, -r * c - s * f];
}

/**
 * Apply a matrix to an image by linear interpolation in 1/32 pixels; pixel centres have whole coordinates.
 * @param {Image} image @param {Matrix} matrix from the image to the result @param {number} side of the result
 * @param {"repeat" | "gray"} edges what lies beyond the image: its edge pixels, repeated, or gray
 */
export function warp(image, matrix, side, edges) {
  const { data, width, height } = image;
  const result = blank(side, side);
  const m = inverse(matrix);
  /** @param {number} x @param {number} y @param {number} c */
  const at = (x, y, c) => {
    const inside = x >= 0 && y >= 0 && x < width && y < height;
    if (!inside && edges === "gray") return GRAY;
    return data[(Math.min(Math.max(y, 0), height - 1) * width + Math.min(Math.max(x, 0), width - 1)) * 3 + c];
  };
  for (let row = 0, to = 0; row < side; row++) {
    const startX = round((m[1] * row + m[2]) * 1024) + 16;
    const startY = round((m[4] * row + m[5]) * 1024) + 16;
    for (let column = 0; column < side; column++) {
      const placeX = (startX + round(m[0] * column * 1024)) >> 5;
      const placeY = (startY + round(m[3] * column * 1024)) >> 5;
      const [x, y, a, b] = [placeX >> 5, placeY >> 5, placeX & 31, placeY & 31];
      for (let c = 0; c < 3; c++, to++) {
        const top = at(x, y, c) * (32 - a) + at(x + 1, y, c) * a;
        const bottom = at(x, y + 1, c) * (32 - a) + at(x + 1, y + 1, c) * a;
        result.data[to] = (top * (32 - b) + bottom * b + 512) >> 10;
      }
    }
  }
  return result;
}

/**
 * Cut out columns `left` to `right` and rows `top` to `bottom`, ends excluded.
 * @param {Image} image @param {number} left @param {number} top @param {number} right @param {number} bottom
 */
export function cut(image, left, top, right, bottom) {
  const result = blank(right - left, bottom - top);
  for (let row = top; row < bottom; row++) paste(image, result, left, row, right - left, 0, row - top);
  return result;
}

/**
 * The image with gray around it.
 * @param {Image} image @param {number} margin in pixels
 */
export function padded(image, margin) {
  const result = blank(image.width + 2 * margin, image.height + 2 * margin);
  result.data.fill(GRAY);
  for (let row = 0; row < image.height; row++) paste(image, result, 0, row, image.width, margin, row + margin);
  return result;
}

/**
 * Copy part of a line from one image into another.
 * @param {Image} from @param {Image} to @param {number} left @param {number} row @param {number} length
 * @param {number} toLeft @param {number} toRow
 */
export function paste(from, to, left, row, length, toLeft, toRow) {
  const start = (row * from.width + left) * 3;
  to.data.set(from.data.subarray(start, start + length * 3), (toRow * to.width + toLeft) * 3);
}

/**
 * The image turned by quarter turns against the clock (numpy.rot90).
 * @param {Image} image @param {number} turns
 * @returns {Image}
 */
export function quarterTurned(image, turns) {
  if (turns === 0) return image;
  const { data, width, height } = image;
  const result = blank(height, width);
  for (let y = 0; y < width; y++) {
    for (let x = 0; x < height; x++) {
      const from = (x * width + (width - 1 - y)) * 3;
      result.data.set(data.subarray(from, from + 3), (y * height + x) * 3);
    }
  }
  return quarterTurned(result, turns - 1);
}
