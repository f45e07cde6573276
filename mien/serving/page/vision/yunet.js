// Run YuNet and read boxes, landmarks and scores from its outputs; see mien/vision/yunet.py.

/**
 * One face: x, y, width, height, five landmarks (x, y), score; in pixels of the image searched.
 * @typedef {Float32Array} Row
 * @typedef {import("./pixels.js").Image} Image
 * Find the faces of an image that score at least the threshold, best first.
 * @typedef {(image: Image, threshold: number) => Promise<Row[]>} Finder
 * Run the network on a float32 blob of 1 x 3 x height x width; outputs by name.
 * @typedef {(blob: Float32Array, width: number, height: number) => Promise<Record<string, Float32Array>>} Network
 */

const STRIDES = [8, 16, 32], CHANNELS = 16;
const OVERLAP_THRESHOLD = 0.3;
const MOST_CANDIDATES = 5000;
const FARTHEST = 1e6;

/** @param {Network} network @returns {Finder} */
export function finder(network) {
  return async (image, threshold) => {
    const { blob, width, height } = toBlob(image);
    const rows = decodeFaces(await network(blob, width, height), width, threshold);
    return bestOfOverlapping(rows, Math.trunc);
  };
}

/**
 * The image as the network takes it: BGR planes of float32, 0 to 255, black added below and at the right up to
 * multiples of 32.
 * @param {Image} image
 */
export function toBlob(image) {
  const [width, height] = [image.width, image.height].map((side) => Math.ceil(side / 32) * 32);
  const plane = width * height;
  const blob = new Float32Array(3 * plane);
  for (let y = 0, from = 0; y < image.height; y++) {
    for (let x = 0, to = y * width; x < image.width; x++, to++) {
      blob[2 * plane + to] = image.data[from++];
      blob[plane + to] = image.data[from++];
      blob[to] = image.data[from++];
    }
  }
  return { blob, width, height };
}

/**
 * All candidates of the three grids, overlapping ones too.
 * @param {Record<string, Float32Array>} outputs @param {number} width of the padded image @param {number} threshold
 */
export function decodeFaces(outputs, width, threshold) {
  const rows = STRIDES.flatMap((stride) => decodeGrid(outputs[`faces_${stride}`], stride, width / stride, threshold));
  return rows.filter((row) => row.every((value) => Math.abs(value) < FARTHEST));
}

/**
 * Candidates of one grid. A box is its centre's offset from the point and the logarithm of its sides.
 * @param {Float32Array} values 16 channels: face?, object?, box, landmarks @param {number} stride
 * @param {number} columns @param {number} threshold
 */
function decodeGrid(values, stride, columns, threshold) {
  const points = values.length / CHANNELS;
  const rows = [];
  for (let point = 0; point < points; point++) {
    const score = Math.fround(Math.sqrt(Math.fround(probability(values[point]) * probability(values[points + point]))));
    // As in NumPy, the threshold is compared in float32.
    if (!(score >= Math.fround(threshold))) continue;
    /** @param {number} channel */
    const at = (channel) => values[channel * points + point];
    const [x, y] = [point % columns, Math.floor(point / columns)];
    const sides = [4, 5].map((channel) => Math.fround(Math.exp(at(channel))) * stride);
    const row = new Float32Array(15);
    row[0] = Math.fround(x + at(2)) * stride - sides[0] / 2;
    row[1] = Math.fround(y + at(3)) * stride - sides[1] / 2;
    row.set(sides, 2);
    for (let i = 0; i < 10; i++) row[4 + i] = Math.fround((i % 2 ? y : x) + at(6 + i)) * stride;
    row[14] = score;
    rows.push(row);
  }
  return rows;
}

/** @param {number} odds their logarithm */
const probability = (odds) => Math.fround(1 / (1 + Math.exp(-odds)));

/**
 * The rows that overlap no better scored one, best first.
 * @param {Row[]} rows @param {(value: number) => number} [measure] of the boxes' numbers
 */
export function bestOfOverlapping(rows, measure = (value) => value) {
  const scored = rows.filter((row) => row[14] > 0);
  const ordered = scored.sort((a, b) => b[14] - a[14]).slice(0, MOST_CANDIDATES);
  /** @type {{ row: Row, box: number[] }[]} */
  const kept = [];
  for (const row of ordered) {
    const box = Array.from(row.subarray(0, 4), measure);
    if (kept.every((other) => overlap(box, other.box) <= OVERLAP_THRESHOLD)) kept.push({ row, box });
  }
  return kept.map(({ row }) => row);
}

/** Intersection over union. @param {number[]} a @param {number[]} b */
function overlap(a, b) {
  const shared = sharedArea(a, b);
  const union = a[2] * a[3] + b[2] * b[3] - shared;
  return union > 0 ? shared / union : 1;
}

/** @param {ArrayLike<number>} a @param {ArrayLike<number>} b */
export function sharedArea(a, b) {
  const width = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]);
  return Math.max(width, 0) * Math.max(height, 0);
}
