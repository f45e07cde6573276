// Keep the page's files, so that it works offline. A new version of any file is a new version of this one.
const VERSION = "VERSION_OF_FILES";
const worker = /** @type {any} */ (self);

worker.addEventListener("install", (/** @type {any} */ event) => event.waitUntil(keep()));
worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(forget()));
worker.addEventListener("fetch", (/** @type {any} */ event) => {
  const { method, url } = event.request;
  if (method === "GET" && new URL(url).origin === location.origin) event.respondWith(answer(event.request));
});

async function keep() {
  const { files } = await (await fetch("./config.json", { cache: "no-cache" })).json();
  const cache = await caches.open(VERSION);
  const names = ["./", "./config.json", ...files.filter((/** @type {string} */ name) => name !== "service-worker.js")];
  await cache.addAll(names.map((name) => new Request(name, { cache: "no-cache" })));
  await worker.skipWaiting();
}

async function forget() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name !== VERSION).map((name) => caches.delete(name)));
  await worker.clients.claim();
}

/** The kept file, else the network's answer. @param {Request} request */
async function answer(request) {
  const cache = await caches.open(VERSION);
  return (await cache.match(request, { ignoreSearch: true })) ?? fetch(request);
}
