// The two ways to a result: a worker on this device, or the server that the page comes from.

/**
 * @typedef {import("./model.js").Model} Model
 * @typedef {import("./model.js").Choices} Choices
 * @typedef {import("./model.js").Result} Result
 * @typedef {import("./model.js").Face} Face
 * @typedef {(file: Blob, path: string, choices: Choices) => Promise<Result>} Predict
 */

/** Predict on this device; the model is loaded with the first photo. @param {Model} model @returns {Predict} */
export function onDevice(model) {
  /** @type {((message: object) => Promise<any>) | undefined} */
  let ask;
  /** @type {Promise<any> | undefined} */
  let opened;
  return async (file, path, choices) => {
    ask ??= startWorker();
    opened ??= ask({ open: model });
    try {
      await opened;
    } catch (error) {
      opened = undefined;
      throw error;
    }
    return ask({ file, path, choices });
  };
}

/** Start the worker; return a function that sends it a message and waits for the reply. */
function startWorker() {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  /** @type {Map<number, { resolve: (value: any) => void, reject: (error: Error) => void }>} */
  const waiting = new Map();
  let count = 0;
  worker.onmessage = ({ data }) => {
    const call = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error === undefined) call?.resolve(data.value);
    else call?.reject(new Error(data.error));
  };
  worker.onerror = () => {
    waiting.forEach(({ reject }) => reject(new Error("The worker that predicts could not be started.")));
    waiting.clear();
  };
  return (/** @type {object} */ message) =>
    new Promise((resolve, reject) => {
      waiting.set(++count, { resolve, reject });
      worker.postMessage({ ...message, id: count });
    });
}

/** Refusals of one photo, which leave the server able to answer for the next. */
const OF_THE_PHOTO = [413, 415, 422];

/** Send the photo to the server of this page, which keeps nothing of it. @type {Predict} */
export async function onServer(file, path, choices) {
  const query = new URLSearchParams({ largest: String(choices.largest) });
  if (choices.tasks.length) query.set("tasks", choices.tasks.join());
  const headers = { "Content-Type": file.type || "application/octet-stream" };
  const reply = await fetch(`./v1/predict?${query}`, { method: "POST", body: file, headers });
  const body = await reply.json().catch(() => ({}));
  if (reply.status === 429) {
    await new Promise((resolve) => setTimeout(resolve, 1000 * Number(reply.headers.get("Retry-After") ?? 1)));
    return onServer(file, path, choices);
  }
  const reason = body.error ?? `The server refused the photo (status ${reply.status}).`;
  if (OF_THE_PHOTO.includes(reply.status)) {
    const status = reply.status === 413 ? "too_large" : "unreadable";
    return { path, status, width: null, height: null, faces: [], model: "", reason };
  }
  if (!reply.ok) throw new Error(reason);
  const [result] = body.results;
  // Without a task there are boxes to show; the server has no request for that.
  const faces = choices.tasks.length ? result.faces : result.faces.map((/** @type {Face} */ { box, score }) => ({ box, score }));
  return { ...result, path, faces };
}
