// Draw a photo with the boxes and labels of its faces; colours and sizes as in mien/output/annotate.py.
import { phrase } from "./words.js";

/** @typedef {import("./model.js").Face} Face */

const COLOURS = [
  ["#0072b2", "#fff"], ["#e69f00", "#000"], ["#009e73", "#fff"],
  ["#cc79a7", "#000"], ["#d55e00", "#fff"], ["#56b4e9", "#000"],
];
export const COLOUR_COUNT = COLOURS.length;
/** Smaller pictures are enlarged to this long side, or no text could be read on them. */
const LEAST_SIDE = 480;

/**
 * Draw the picture on the canvas with its long side at most `most` pixels.
 * @param {HTMLCanvasElement} canvas @param {ImageBitmap} bitmap @param {Face[]} faces @param {number} most
 */
export function drawFaces(canvas, bitmap, faces, most) {
  const side = Math.max(bitmap.width, bitmap.height);
  const scale = Math.min(Math.max(1, faces.length ? LEAST_SIDE / side : 1), most / side);
  canvas.width = Math.max(Math.round(bitmap.width * scale), 1);
  canvas.height = Math.max(Math.round(bitmap.height * scale), 1);
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const boxes = faces.map((face) => face.box.map((value) => value * scale));
  boxes.forEach((box, index) => drawBox(pen, box, index));
  /** @type {number[][]} */
  const labels = [];
  faces.forEach((face, index) => labels.push(drawLabel(pen, face, index, boxes, labels)));
}

/** @param {CanvasRenderingContext2D} pen @param {number[]} box @param {number} index */
function drawBox(pen, box, index) {
  pen.strokeStyle = COLOURS[index % COLOURS.length][0];
  pen.lineWidth = Math.max(2, Math.round(Math.max(pen.canvas.width, pen.canvas.height) / 400));
  pen.strokeRect(box[0], box[1], box[2], box[3]);
}

/**
 * Draw the label of one face where it covers least; return its place.
 * @param {CanvasRenderingContext2D} pen @param {Face} face @param {number} index @param {number[][]} boxes
 * @param {number[][]} labels drawn before
 */
function drawLabel(pen, face, index, boxes, labels) {
  const phrases = Object.values(face).filter((value) => value?.probabilities || value?.high !== undefined).map(phrase);
  const { width, height } = pen.canvas;
  const lines = [String(index + 1), ...phrases];
  const size = Math.max(11, Math.min(Math.round(Math.max(width, height) / 45), boxes[index][2] / 5));
  pen.font = `${size}px system-ui, "Liberation Sans", sans-serif`;
  pen.textBaseline = "top";
  const wide = Math.max(...lines.map((line) => pen.measureText(line).width)) + size / 2;
  const high = lines.length * size * 1.2 + size / 3;
  const [left, top] = freePlace(boxes[index], wide, high, width, height, boxes, labels);
  pen.fillStyle = COLOURS[index % COLOURS.length][0];
  pen.fillRect(left, top, wide, high);
  pen.fillStyle = COLOURS[index % COLOURS.length][1];
  lines.forEach((line, row) => pen.fillText(line, left + size / 4, top + size / 4 + row * size * 1.2));
  return [left, top, wide, high];
}

/**
 * The place around a box, inside the picture, that covers least; to cover a label counts four times.
 * @param {number[]} box @param {number} wide @param {number} high @param {number} width @param {number} height
 * @param {number[][]} boxes @param {number[][]} labels
 */
function freePlace([x, y, w, h], wide, high, width, height, boxes, labels) {
  const corners = [[x + w, y], [x - wide, y], [x, y - high], [x, y + h], [x, y], [x, y + h - high]];
  /** @param {number[]} place */
  const covered = (place) =>
    boxes.reduce((sum, box) => sum + shared(place, box), 0) + 4 * labels.reduce((sum, l) => sum + shared(place, l), 0);
  const places = corners.map(([left, top]) => [
    Math.max(0, Math.min(left, width - wide)), Math.max(0, Math.min(top, height - high)), wide, high,
  ]);
  return places.reduce((a, b) => (covered(b) < covered(a) ? b : a));
}

/** @param {number[]} a @param {number[]} b */
function shared(a, b) {
  const width = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]);
  return Math.max(width, 0) * Math.max(height, 0);
}
