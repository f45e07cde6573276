// One photo in the list of results: its picture with boxes, and what was predicted of each face in words.
import { COLOUR_COUNT, drawFaces } from "./draw.js";
import { save } from "./save.js";
import { answerText, counted, detailText, plain } from "./words.js";

/**
 * @typedef {import("./model.js").Result} Result
 * @typedef {import("./model.js").Face} Face
 */

/** Long side of a picture in the list, and of one in a long list, in pixels. */
const SHOWN_SIDE = 1280, SHOWN_SIDE_OF_MANY = 480;
const SAVED_SIDE = 16384;

/**
 * The list item of a photo.
 * @param {File} file @param {Result} result @param {boolean} many whether the list is long
 */
export async function photoItem(file, result, many) {
  const item = element("li", { className: "photo" });
  const words = element("div");
  words.append(element("h3", { textContent: result.path }), ...summary(result));
  const bitmap = result.width === null ? null : await createImageBitmap(file).catch(() => null);
  if (bitmap) {
    const canvas = element("canvas");
    drawFaces(canvas, bitmap, result.faces, many ? SHOWN_SIDE_OF_MANY : SHOWN_SIDE);
    bitmap.close();
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${result.path} with ${counted(result.faces.length, "face")} marked`);
    item.append(canvas);
    words.append(saveButton(file, result));
  }
  item.append(words);
  return item;
}

/** @param {Result} result */
function summary(result) {
  if (result.status !== "ok") {
    return [element("p", { className: "failed", textContent: result.reason ?? plain(result.status) })];
  }
  const list = element("ol", { className: "faces" });
  list.append(...result.faces.map(faceItem));
  return [list];
}

/** @param {Face} face @param {number} index */
function faceItem(face, index) {
  const item = element("li", { className: `face-${index % COLOUR_COUNT}` });
  item.append(element("strong", { textContent: `Face ${index + 1}` }));
  const list = element("dl");
  for (const [name, value] of Object.entries(face)) {
    if (name === "box" || name === "score" || name === "landmarks") continue;
    const answer = element("dd", { textContent: `${answerText(value)} ` });
    answer.append(element("span", { className: "detail", textContent: `(${detailText(value)})` }));
    list.append(element("dt", { textContent: plain(name) }), answer);
  }
  item.append(list);
  return item;
}

/** @param {File} file @param {Result} result */
function saveButton(file, result) {
  const button = element("button", { type: "button", textContent: "Save the picture" });
  button.setAttribute("aria-label", `Save the picture ${result.path} with boxes`);
  button.onclick = async () => {
    const canvas = element("canvas");
    drawFaces(canvas, await createImageBitmap(file), result.faces, SAVED_SIDE);
    const name = `${file.name.replace(/\.[^.]*$/, "")}-faces`;
    const png = file.type === "image/png";
    canvas.toBlob((blob) => blob && save(blob, `${name}.${png ? "png" : "jpg"}`), png ? "image/png" : "image/jpeg", 0.92);
  };
  return button;
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag @param {Partial<HTMLElementTagNameMap[Tag]>} [properties]
 */
export function element(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}
