// The server, as functions. Errors are Problem objects: code, message, hint.

export class Problem extends Error {
  constructor(status, told) {
    super(told.message || `the server answered ${status}`);
    this.status = status;
    this.code = told.code || "error";
    this.hint = told.hint || "";
  }
}

const wait = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

/** Of a write: sent again with the same key it is not done twice, and has the same answer. */
const key = () => ({ "Idempotency-Key": Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16)).join("-") });

async function ask(path, options = {}, tries = 2) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) { // no answer: the connection broke, or there is no server
    if (error?.name === "AbortError" || tries <= 0) throw error;
    await wait(1);
    return ask(path, options, tries - 1);
  }
  if ((answer.status === 503 || answer.status === 429) && tries > 0) {
    await wait(Math.min(5, Number(answer.headers.get("Retry-After")) || 1));
    return ask(path, options, tries - 1);
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Problem(answer.status, told);
  }
  return answer;
}

const json = async (path, options) => (await ask(path, options)).json();
const send = (method, path, body, signal, headers = {}) =>
  json(path, { method, signal, headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) });
const write = (method, path, body) => send(method, path, body, undefined, key());
const at = (name) => `/libraries/${encodeURIComponent(name)}`;

export const api = {
  session: () => json("/session"),
  login: (token) => send("POST", "/session", { token }),
  libraries: () => json("/libraries"),
  library: (name) => json(at(name)),
  facets: (name, column) => json(`${at(name)}/facets?column=${encodeURIComponent(column)}`),
  dates: (name) => json(`${at(name)}/dates`),
  items(name, after, filter, sort, limit = 40) {
    const asked = new URLSearchParams({ limit: String(limit), sort });
    if (after) asked.set("after", after);
    if (filter.length) asked.set("filter", JSON.stringify(filter));
    return json(`${at(name)}/items?${asked}`);
  },
  item: (name, id) => json(`${at(name)}/items/${id}`),
  search: (name, query, signal) => send("POST", `${at(name)}/search`, query, signal),
  why: (name, id, text, by) => json(`${at(name)}/items/${id}/why?${new URLSearchParams({ text, by })}`),
  caption: (library, id) => send("POST", "/caption", { library, image: { id } }),
  generate: (asked) => send("POST", "/generate", asked),
  remove: (name, ids) => write("POST", `${at(name)}/items/delete`, { ids }),
  undo: (name, token) => write("POST", `${at(name)}/undo`, { token }),
  async export(name, ids, format) {
    const answer = await ask(`${at(name)}/items/export`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ids, format }) });
    return { file: await answer.blob(), missing: Number(answer.headers.get("X-Missing")) };
  },
  add(name, files) {
    const form = new FormData();
    for (const file of files) form.append("files", file, file.name);
    return json(`${at(name)}/items`, { method: "POST", body: form, headers: key() });
  },
  async map(name) {
    const answer = await ask(`${at(name)}/map?format=binary`);
    const data = await answer.arrayBuffer();
    const count = Number(answer.headers.get("X-Map-Count"));
    return {
      count,
      total: Number(answer.headers.get("X-Map-Total")),
      method: answer.headers.get("X-Map-Method"),
      points: new Float32Array(data, 0, count * 3),
      ids: new Uint8Array(data, count * 12, count * 8),
    };
  },
  /** In a large library it takes longer than one request may: it is asked again until it is there. */
  async copies(name, signal) {
    for (;;) {
      try {
        return await json(`${at(name)}/duplicates`, { signal });
      } catch (error) {
        if (error?.code !== "deadline_exceeded") throw error;
      }
    }
  },
  thumbnail: (name, id) => `${at(name)}/items/${id}/thumbnail`,
  preview: (name, id) => `${at(name)}/items/${id}/preview`,
};

/** An image file as a data URI, made smaller first when it is large: the server needs few pixels. */
export async function dataUri(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, 768 / Math.max(bitmap.width, bitmap.height));
    if (scale < 1 || file.size > 2e6) {
      const canvas = document.createElement("canvas");
      canvas.width = Math.max(1, Math.round(bitmap.width * scale));
      canvas.height = Math.max(1, Math.round(bitmap.height * scale));
      const pen = canvas.getContext("2d");
      pen.fillStyle = "white";
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
      return canvas.toDataURL("image/jpeg", 0.9);
    }
  } catch {
    // not an image that the browser knows; the server may, or will say what is wrong
  }
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(String(reader.result));
    reader.onerror = () => failed(new Problem(0, { message: "the file cannot be read" }));
    reader.readAsDataURL(file);
  });
}
