// The worker: loads the model, then answers one message an image, in order.
import { FaceModel } from "./model.js";

/** @type {Promise<FaceModel> | undefined} */
let loading;
/** @type {Promise<unknown>} */
let last = Promise.resolve();

/**
 * A message has an `id`, which its reply repeats, and either `open` (the model) or `file`, `path` and `choices`.
 * @param {MessageEvent} event
 */
self.onmessage = ({ data }) => {
  last = last.then(async () => {
    try {
      self.postMessage({ id: data.id, value: await answer(data) });
    } catch (error) {
      self.postMessage({ id: data.id, error: error instanceof Error ? error.message : String(error) });
    }
  });
};

/** @param {any} message */
async function answer(message) {
  if (message.open) {
    loading = FaceModel.load(message.open);
    await loading;
    return null;
  }
  return (await /** @type {Promise<FaceModel>} */ (loading)).predictFile(message.file, message.path, message.choices);
}
