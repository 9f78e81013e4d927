/* A service worker that adds the headers that a static host leaves out to the page and its workers.
 *
 * It leaves other pages in the same folder alone.
 * COOP and COEP let the page compute on several threads. The policy holds the page's workers, which
 * do not read the one in index.html, to the same rule: connect to this site and to no other.
 */
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Content-Security-Policy":
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; " +
    "connect-src 'self'; style-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'none'",
};
const OWN = /^(index(\.html)?|worker\.js|ort\/ort[^/]*\.mjs)?$/; // in the folder of this file

addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url);
  const folder = new URL("./", location).pathname;
  if (origin !== location.origin || !pathname.startsWith(folder)) return;
  if (OWN.test(pathname.slice(folder.length))) event.respondWith(answer(event.request));
});

async function answer(request) {
  const response = await fetch(request);
  if (response.type === "opaqueredirect") return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  const { status, statusText } = response;
  return new Response(response.body, { status, statusText, headers });
}
