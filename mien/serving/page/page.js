// The page: photos in, results in a list. Every photo is predicted again when an option changes.
import { listen } from "./inputs.js";
import { element, photoItem } from "./photo.js";
import { onDevice, onServer } from "./predictors.js";
import { save } from "./save.js";
import { toCSV, toJSONLines } from "./tables.js";
import { counted, plain } from "./words.js";

/**
 * @typedef {import("./model.js").Result} Result
 * @typedef {{ server: boolean, runtime: boolean, model: import("./model.js").Model }} Config
 */

/** Longer lists have smaller pictures. */
const MANY = 20;

/** @param {string} id */
const byId = (id) => /** @type {any} */ (document.getElementById(id));
const say = (/** @type {string} */ text) => (byId("status").textContent = text);

class Page {
  /** @param {Config} config */
  constructor(config) {
    this.config = config;
    this.device = onDevice(config.model);
    /** @type {File[]} */
    this.files = [];
    /** @type {Result[]} */
    this.results = [];
    /** Counts the runs; one that is not the last stops. */
    this.run = 0;
  }

  choices() {
    const boxes = /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll("#tasks input")]);
    return { tasks: boxes.filter((box) => box.checked).map((box) => box.value), largest: byId("largest").checked };
  }

  /** @param {File[]} files */
  add(files) {
    if (!files.length) return;
    this.files.push(...files);
    this.go(this.results.length && this.files.length - files.length === this.results.length ? this.results.length : 0);
  }

  /** Predict the photos from number `start` on. @param {number} start */
  async go(start) {
    const run = ++this.run;
    const choices = this.choices();
    const where = /** @type {HTMLInputElement} */ (document.querySelector("[name=where]:checked")).value;
    const predict = where === "server" ? onServer : this.device;
    this.results.length = start;
    const list = byId("results");
    while (list.children.length > start) list.lastChild.remove();
    this.show(true);
    for (const file of this.files.slice(start)) {
      say(`Photo ${this.results.length + 1} of ${this.files.length}: ${file.name}`);
      const result = await predict(file, file.webkitRelativePath || file.name, choices).catch((error) => error);
      if (run !== this.run) return;
      if (result instanceof Error) {
        say(`Stopped. ${result.message}`);
        return this.show(false);
      }
      const item = await photoItem(file, result, this.files.length > MANY);
      if (run !== this.run) return;
      this.results.push(result);
      list.append(item);
      this.show(true);
    }
    this.show(false);
    this.sum();
  }

  stop() {
    this.run++;
    this.files.length = this.results.length;
    this.show(false);
    this.sum();
  }

  clear() {
    this.stop();
    this.files = [];
    this.results = [];
    byId("results").replaceChildren();
    this.show(false);
    say("No photos.");
    byId("choose").focus();
  }

  sum() {
    const faces = this.results.reduce((sum, { faces }) => sum + faces.length, 0);
    const failed = this.results.filter(({ status }) => status !== "ok" && status !== "no_face").length;
    const unread = failed ? `; ${counted(failed, "file")} could not be read` : "";
    say(`Done: ${counted(faces, "face")} in ${counted(this.results.length, "photo")}${unread}.`);
  }

  /** @param {boolean} busy */
  show(busy) {
    byId("progress").hidden = byId("stop").hidden = !busy;
    byId("progress").max = this.files.length;
    byId("progress").value = this.results.length;
    byId("actions").hidden = !busy && !this.results.length;
    byId("save-csv").disabled = byId("save-json").disabled = byId("clear").disabled = busy || !this.results.length;
    document.body.dataset.busy = String(busy);
  }
}

/** Where photos go, in one sentence. @param {Config} config @param {string} where */
function note(config, where) {
  if (where === "server") return "Photos are sent to the server of this page, which stores nothing of them.";
  return config.runtime
    ? "Photos do not leave this device; the model is loaded once."
    : "Not available: this installation was built without the browser's runtime (make web).";
}

/** @param {Config} config @param {Page} page */
function setUp(config, page) {
  const radios = /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll("[name=where]")]);
  for (const radio of radios) {
    radio.disabled = radio.value === "device" ? !config.runtime : !config.server;
    radio.checked = radio.value === (config.runtime ? "device" : "server");
  }
  for (const { name } of config.model.tasks) {
    const label = element("label");
    const box = document.createElement("input");
    [box.type, box.value, box.checked] = ["checkbox", name, true];
    label.append(box, plain(name));
    byId("tasks").append(label);
  }
  const describe = () => {
    const where = radios.find((radio) => radio.checked)?.value ?? "device";
    const missing = config.runtime ? "" : ` ${note(config, "device")}`;
    byId("where-note").textContent = where === "server" ? note(config, where) + missing : note(config, where);
  };
  document.querySelectorAll(".options input").forEach((input) =>
    input.addEventListener("change", () => {
      describe();
      if (page.files.length) page.go(0);
    }),
  );
  describe();
  byId("privacy").textContent = "This page loads nothing from other sites, sends nothing to them, and keeps no photo.";
  const { identifier, licences } = config.model;
  // That of the weights names those of the training data.
  const named = licences.weights ?? Object.values(licences).join("; ");
  byId("model").textContent = `Model: ${identifier}. Licence: ${named || "none named"}.`;
}

async function start() {
  const config = /** @type {Config} */ (await (await fetch("./config.json")).json());
  const page = new Page(config);
  setUp(config, page);
  listen((files) => page.add(files), say);
  byId("stop").onclick = () => page.stop();
  byId("clear").onclick = () => page.clear();
  byId("save-json").onclick = () => save(new Blob([toJSONLines(page.results)]), "faces.jsonl");
  byId("save-csv").onclick = () => {
    const chosen = page.choices().tasks;
    const tasks = config.model.tasks.filter(({ name }) => chosen.includes(name));
    save(new Blob([toCSV(page.results, tasks)]), "faces.csv");
  };
  say("No photos.");
  document.body.dataset.ready = "true";
  // Not there without HTTPS, and no loss but that of working offline.
  await navigator.serviceWorker?.register("./service-worker.js").catch(() => undefined);
}

start().catch(() => say("The page's settings cannot be loaded; reload it."));
