// Predict the faces of an image with ONNX Runtime's WebAssembly build. Runs in a worker; nothing leaves it but results.
import { alignFace } from "./vision/align.js";
import { predict } from "./answers.js";
import { detect } from "./vision/detect.js";
import { fromRGBA, resize } from "./vision/pixels.js";
import { angleOf, INPUT_SIDE } from "./vision/tilt.js";
import { finder } from "./vision/yunet.js";

/**
 * @typedef {import("onnxruntime-web").InferenceSession} Session
 * @typedef {import("./answers.js").Task} Task
 * @typedef {import("./answers.js").Prediction} Prediction
 * @typedef {import("./vision/pixels.js").Image} Image
 * What `mien web` writes into config.json.
 * @typedef {{ identifier: string, size: number, crop_size: number, crop: import("./vision/align.js").CropRecipe,
 *   tasks: Task[], calibration: Record<string, any>, licences: Record<string, string>, most_pixels: number }} Model
 * @typedef {{ tasks: string[], largest: boolean }} Choices
 * @typedef {{ box: number[], score: number } & Record<string, any>} Face
 * One image's result, as docs/predict.md describes it.
 * @typedef {{ path: string, status: "ok" | "no_face" | "unreadable" | "too_large", width: number | null,
 *   height: number | null, faces: Face[], model: string, reason?: string }} Result
 */

const RUNTIME = "./runtime/ort.wasm.min.mjs";
/** Faces in one call of the model. */
const BATCH_SIZE = 8;

export class FaceModel {
  /**
   * @param {Model} model @param {typeof import("onnxruntime-web")} ort
   * @param {Session} detector @param {Session} tilt @param {Session} net
   */
  constructor(model, ort, detector, tilt, net) {
    this.model = model;
    this.ort = ort;
    this.net = net;
    this.find = finder(async (blob, width, height) => {
      const outputs = await detector.run({ input: new ort.Tensor("float32", blob, [1, 3, height, width]) });
      return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, floats(tensor)]));
    });
    /** @type {import("./vision/tilt.js").TiltPredictor} */
    this.predictTilt = async (face) => {
      const crops = new ort.Tensor("uint8", planes([face], INPUT_SIDE), [1, 3, INPUT_SIDE, INPUT_SIDE]);
      return angleOf(floats((await tilt.run({ crops })).angles));
    };
  }

  /** Load runtime, detector and model. @param {Model} model */
  static async load(model) {
    const ort = /** @type {typeof import("onnxruntime-web")} */ (await import(RUNTIME));
    // Threads need memory that is shared, which browsers allow where the server isolates the page.
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 4) : 1;
    ort.env.wasm.wasmPaths = new URL("./runtime/", import.meta.url).href;
    // 8-bit models agree with those of other processors only where their products do not overflow.
    const extra = { session: { x64quantprecision: "1" } };
    /** @param {string} name */
    const open = async (name) => {
      const reply = await fetch(new URL(name, import.meta.url));
      if (!reply.ok) throw new Error(`The file ${name} cannot be loaded (status ${reply.status}).`);
      return ort.InferenceSession.create(new Uint8Array(await reply.arrayBuffer()), { extra });
    };
    const [detector, tilt] = [await open("./detector.onnx"), await open("./tilt.onnx")];
    return new FaceModel(model, ort, detector, tilt, await open("./model.onnx"));
  }

  /**
   * Predict one image file.
   * @param {Blob} file @param {string} path its name, for the result @param {Choices} choices
   * @returns {Promise<Result>}
   */
  async predictFile(file, path, choices) {
    const model = this.model.identifier;
    /** @param {"unreadable" | "too_large"} status @param {string} reason @returns {Result} */
    const failed = (status, reason) => ({ path, status, width: null, height: null, faces: [], model, reason });
    if (!file.size) return failed("unreadable", "The file is empty (0 bytes).");
    let bitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      return failed("unreadable", "The image cannot be decoded: this browser knows no image in it.");
    }
    const { width, height } = bitmap;
    if (width * height > this.model.most_pixels) {
      bitmap.close();
      return failed("too_large", `The image has ${width} x ${height} pixels; the limit is ${this.model.most_pixels}.`);
    }
    const faces = await this.predictImage(decoded(bitmap), choices);
    if (faces.length) return { path, status: "ok", width, height, faces, model };
    return { path, status: "no_face", width, height, faces, model, reason: "No face was found." };
  }

  /**
   * Find the faces of an image and predict the chosen tasks.
   * @param {Image} image @param {Choices} choices
   * @returns {Promise<Face[]>}
   */
  async predictImage(image, { tasks, largest }) {
    const { crop_size, size, crop } = this.model;
    const found = await detect(this.find, this.predictTilt, image);
    const kept = largest ? found.slice(0, 1) : found;
    /** @type {Face[]} */
    const faces = [];
    for (let start = 0; start < kept.length; start += BATCH_SIZE) {
      const batch = kept.slice(start, start + BATCH_SIZE);
      const crops = batch.map((face) => resize(alignFace(image, face.landmarks, crop_size, crop), size, size));
      const answers = await this.predictCrops(crops, tasks);
      batch.forEach(({ box, score }, i) => faces.push({ box, score: Math.round(score * 1e4) / 1e4, ...answers[i] }));
    }
    return faces;
  }

  /**
   * The predictions of each crop by the task's name.
   * @param {Image[]} crops @param {string[]} names of the tasks
   * @returns {Promise<Record<string, Prediction>[]>}
   */
  async predictCrops(crops, names) {
    const tasks = this.model.tasks.filter((task) => names.includes(task.name));
    if (!tasks.length) return crops.map(() => ({}));
    const { size } = this.model;
    const feeds = { crops: new this.ort.Tensor("uint8", planes(crops, size), [crops.length, 3, size, size]) };
    const outputs = await this.net.run(feeds, tasks.map((task) => task.name));
    return crops.map((_, row) => Object.fromEntries(tasks.map((task) => {
      const all = floats(outputs[task.name]);
      const width = all.length / crops.length;
      const output = all.subarray(row * width, (row + 1) * width);
      return [task.name, predict(task, this.model.calibration[task.name], output)];
    })));
  }
}

/** @param {import("onnxruntime-web").Tensor} tensor */
const floats = (tensor) => /** @type {Float32Array} */ (tensor.data);

/** Crops as the model takes them: all red, all green, all blue. @param {Image[]} crops @param {number} size */
function planes(crops, size) {
  const plane = size * size;
  const data = new Uint8Array(crops.length * 3 * plane);
  crops.forEach((crop, n) => {
    for (let i = 0; i < plane; i++) {
      for (let c = 0; c < 3; c++) data[(3 * n + c) * plane + i] = crop.data[3 * i + c];
    }
  });
  return data;
}

/** The pixels of a bitmap, transparency laid over white; the bitmap is closed. @param {ImageBitmap} bitmap */
function decoded(bitmap) {
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const pen = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  pen.fillStyle = "white";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  return fromRGBA(pen.getImageData(0, 0, width, height));
}
