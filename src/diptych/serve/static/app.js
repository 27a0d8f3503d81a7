// The page: wires query, filters, results and map together.

import { $, h, plural, toast } from "./dom.js";
import { api, dataUri, Problem } from "./api.js";
import { Copies } from "./copies.js";
import { Draw } from "./draw.js";
import { EmbeddingMap } from "./map.js";
import { Filters } from "./filters.js";
import { sentence } from "./problems.js";
import { Query } from "./query.js";
import { Results } from "./results.js";
import { Selection } from "./selection.js";
import { Viewer } from "./viewer.js";
import * as keys from "./keys.js";

const PAUSE = 110; // milliseconds of not typing before a search
const SLOW_PAUSE = 350; // the same where a cross-encoder looks closely
const DOUBT = 0.5; // probability that nothing matches from which on the page says so
const FIRST = 40; // images asked for at once
const MOST_DELETED = 1000; // images of one request
const IDEAS = ["a dog in the snow", "Kinder spielen im Wasser", "un homme à vélo", "雪の中の犬", "gente en la playa", "молодая женщина улыбается"];

const state = { libraries: [], library: null, k: FIRST, map: false, draw: false, copies: false, closely: false, rest: false, next: null };
let asking = null, timer = 0;

const onImages = {
  like: (hit) => query.only({ id: hit.id, name: hit.name, shown: api.thumbnail(state.library.name, hit.id) }),
  plus: (hit) => query.add({ id: hit.id, name: hit.name, shown: api.thumbnail(state.library.name, hit.id) }),
  minus: (hit) => query.add({ sign: -1, id: hit.id, name: hit.name, shown: api.thumbnail(state.library.name, hit.id) }),
  remove: (hit) => remove([hit.id], hit.name),
};
const selection = new Selection({
  remove: (ids) => remove(ids),
  shown: () => results.hits,
  changed: () => { results.mark(); viewer.mark(); },
  say: (text) => say(text),
  failed: complain,
});
const viewer = new Viewer({
  ...onImages,
  words: () => wanted(),
  why: (hit) => api.why(state.library.name, hit.id, wanted(), hit.scored_by !== "cosine" && state.library.features.attention ? "attention" : "occlusion"),
  describe: (hit) => api.caption(state.library.name, hit.id),
  told: (error) => (error instanceof Problem && error.status === 401 ? (login(), "") : sentence(error)),
  closed: (id) => { if ($("results").contains(document.activeElement)) results.focus(id); },
}, selection);
const results = new Results({ ...onImages, open: (hit, hits) => viewer.open(hit, hits) }, selection);
const query = new Query(() => (state.draw ? view("grid") : soon()));
const filters = new Filters(() => soon(0));
const draw = new Draw((hit, hits) => viewer.open(hit, hits), complain);
const copies = new Copies({ open: (image) => show(image.id), remove: (ids) => remove(ids), failed: complain });
const map = new EmbeddingMap(show);

/** Open an image of which only the id is known. */
async function show(id) {
  const found = await api.item(state.library.name, id).catch(complain);
  if (found) viewer.open(found, results.hits.some((hit) => hit.id === id) ? results.hits : [found]);
}

function complain(error) {
  if (error?.name === "AbortError") return;
  if (error instanceof Problem && error.status === 401) return login();
  const message = sentence(error);
  say(message);
  toast(message);
}

/** The words that are looked for, or drawn. */
const wanted = () => (state.draw ? $("draw-words").value.trim() : query.wanted);

const say = (message) => { $("status").textContent = message; };

function soon(pause = state.closely ? SLOW_PAUSE : PAUSE) {
  state.k = FIRST;
  state.rest = false;
  clearTimeout(timer);
  timer = setTimeout(search, pause);
}

async function search() {
  clearTimeout(timer);
  if (!state.library) return; // the server has not told of it yet; the page searches when it has
  asking?.abort();
  asking = new AbortController();
  remember();
  const asked = query.asked();
  $("welcome").hidden = !query.isEmpty || state.map || state.draw || state.copies;
  $("doubt").hidden = true;
  $("rest").hidden = true;
  if (asked === null) return browse();
  const rerank = state.closely && asked.text !== undefined;
  const only_relevant = state.library.features.relevant && !state.rest && asked.text !== undefined;
  const isByDate = filters.timeline.isOpen;
  const body = { ...asked, k: state.k, filter: filters.active, on_map: state.map, rerank, only_relevant, ocr: asked.text !== undefined && "PHOTO_WORDS" in state.library.columns, sort: isByDate ? "taken" : "score" };
  $("results").classList.add("busy");
  try {
    const found = await api.search(state.library.name, body, asking.signal);
    results.show(found.hits, false, isByDate);
    doubt(found.nothing_matches);
    map.mark(found.hits, found.lands);
    hide(found);
    $("more").hidden = found.hits.length < state.k || state.k >= 1000;
    const filtered = filters.active.length ? ` of ${plural(found.total, "image")} that fit` : "";
    say([`${plural(found.hits.length, "image")}${filtered} in ${Math.max(1, Math.round(found.took_ms))} ms`, ...(state.closely && !rerank ? ["only plain words are looked at closely"] : []), ...found.notes].join(" · "));
  } catch (error) {
    complain(error);
  }
  $("results").classList.remove("busy");
}

/** Say how many of the nearest are hidden, and offer them. */
function hide(found) {
  if (!found.hidden) return;
  const some = found.hits.length > 0;
  $("rest").hidden = false;
  $("rest-said").textContent = some ? `Hidden because they hardly match: ${plural(found.hidden, "image")}.` : "All that is here is hidden because it hardly matches.";
  $("rest-show").textContent = some ? "Show the rest" : "Show what comes nearest";
}

$("rest-show").addEventListener("click", () => {
  state.rest = true;
  search();
});

function doubt(nothing) {
  if (!(nothing >= DOUBT)) return;
  $("doubt").hidden = false;
  $("doubt").textContent = `Probably nothing here matches (${Math.round(nothing * 100)} %). These come nearest.`;
}

$("closely").addEventListener("click", () => {
  state.closely = !state.closely;
  $("closely").setAttribute("aria-pressed", String(state.closely));
  search();
});

/** Nothing is looked for: show what is there, or what of it passes the filters, page by page. */
async function browse(more = false) {
  try {
    const isByDate = filters.timeline.isOpen;
    const page = await api.items(state.library.name, more ? state.next : null, filters.active, isByDate ? "taken" : "id");
    results.show(page.items, more, isByDate);
    map.mark([], null);
    state.next = page.next;
    $("more").hidden = page.next === null;
    say(filters.active.length ? [`${plural(page.total, "image")} that fit`, ...page.notes].join(" · ") : "");
  } catch (error) {
    complain(error);
  }
}

$("more").addEventListener("click", () => {
  if (query.isEmpty) return browse(true);
  state.k = Math.min(1000, state.k * 2);
  search();
});
$("search").addEventListener("submit", (event) => { event.preventDefault(); search(); });

// -- libraries ------------------------------------------------------------------------------------

async function choose(name) {
  const found = await api.library(name);
  state.library = found;
  $("library").value = name;
  $("size").textContent = plural(found.images, "image");
  $("add").hidden = !found.features.write;
  $("view-draw").hidden = !found.features.generate;
  $("view-copies").hidden = !found.features.copies;
  copies.use(name, found.features.write);
  $("closely").hidden = !found.features.rerank;
  state.closely = state.closely && found.features.rerank;
  $("closely").setAttribute("aria-pressed", String(state.closely));
  results.use(name, found.features);
  viewer.use(name, found.features);
  selection.use(name, found.features);
  draw.use(name);
  filters.use(name, found.columns);
  document.title = `${name} · Diptych`;
  if (state.map) await map.load(name);
}

$("library").addEventListener("change", async () => {
  query.terms = query.terms.filter((term) => !term.id);
  query.draw();
  await choose($("library").value).catch(complain);
  if (state.copies) return view(state.library.features.copies ? "copies" : "grid");
  search();
});

async function refresh() {
  const found = await api.library(state.library.name).catch(complain);
  if (found) $("size").textContent = plural(found.images, "image");
  if (filters.timeline.isOpen) filters.timeline.load();
  if (state.map) await map.load(state.library.name).catch(complain);
  if (state.copies) return copies.load();
  search();
}

// -- adding, deleting, taking back ----------------------------------------------------------------

async function remove(ids, name) {
  const hadFocus = $("selection").contains(document.activeElement);
  try {
    const library = state.library.name, gone = [];
    for (let at = 0; at < ids.length; at += MOST_DELETED) gone.push(await api.remove(library, ids.slice(at, at + MOST_DELETED)));
    const count = gone.reduce((all, one) => all + one.deleted, 0), tokens = gone.map((one) => one.undo).filter(Boolean);
    const undo = async () => {
      for (const token of tokens) await api.undo(library, token);
      toast(count === 1 ? "It is back." : "They are back.");
      refresh();
    };
    toast(count === 1 && name ? `Deleted ${name}` : `Deleted ${plural(count, "image")}`, tokens.length ? { label: "Undo", run: () => undo().catch(complain) } : null, 20);
    selection.drop(ids);
    if (hadFocus) results.focus();
    refresh();
  } catch (error) {
    complain(error);
  }
}

async function add(files) {
  const images = [...files];
  if (!images.length) return;
  const library = state.library.name, created = [], problems = [];
  let known = 0;
  for (let at = 0; at < images.length; at += 8) {
    say(`Adding ${plural(images.length, "image")}… ${at}`);
    const some = images.slice(at, at + 8);
    try {
      const answer = await api.add(library, some);
      for (const one of answer.added) {
        if (one.error) problems.push(sentence(new Problem(0, { ...one.error, hint: "" })));
        else if (one.created) created.push(one.id);
        else known += 1;
      }
    } catch (error) {
      if (error instanceof Problem && error.status === 401) login();
      problems.push(...some.map((file) => `${file.name}: ${sentence(error)}`));
    }
  }
  list(problems, images.length);
  const also = known ? `; ${plural(known, "was", "were")} there already` : "";
  if (created.length || known) toast(`Added ${plural(created.length, "image")}${also}`, created.length ? { label: "Undo", run: () => remove(created) } : null, 20);
  refresh();
}

/** Every file that was not added, in a list that stays until it is closed or the next files are added. */
function list(problems, all) {
  $("problems").hidden = problems.length === 0;
  if (!problems.length) return;
  $("problems-title").textContent = `${problems.length.toLocaleString()} of ${plural(all, "file")} ${problems.length === 1 ? "was" : "were"} not added`;
  $("problems-list").replaceChildren(...problems.map((text) => h("li", { dir: "auto" }, text)));
  $("problems").scrollIntoView({ block: "nearest" });
  $("problems-title").focus();
}
$("problems-close").addEventListener("click", () => { $("problems").hidden = true; $("add").focus(); });

$("add").addEventListener("click", () => $("file-add").click());
$("file-add").addEventListener("change", () => { add($("file-add").files); $("file-add").value = ""; });

// -- images as queries --------------------------------------------------------------------------

async function lookFor(file) {
  if (!file) return;
  try {
    const uri = await dataUri(file);
    query.add({ sign: query.sign, uri, name: file.name || "image", shown: uri });
  } catch (error) {
    complain(error);
  }
}

$("image").addEventListener("click", () => $("file-search").click());
$("file-search").addEventListener("change", () => { lookFor($("file-search").files[0]); $("file-search").value = ""; });
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
  if (file) { event.preventDefault(); lookFor(file); }
});

let dragging = 0;
const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
const overlay = (on) => { $("drop").hidden = !on; $("drop-add").hidden = !state.library?.features.write; };
document.addEventListener("dragenter", (event) => { if (hasFiles(event)) { dragging += 1; overlay(true); } });
document.addEventListener("dragleave", (event) => { if (hasFiles(event) && (dragging -= 1) <= 0) overlay(false); });
document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  for (const zone of [$("drop-search"), $("drop-add")]) zone.classList.toggle("over", zone.contains(event.target));
});
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  dragging = 0;
  overlay(false);
  if ($("drop-add").contains(event.target)) add(event.dataTransfer.files);
  else lookFor(event.dataTransfer.files[0]);
});

// -- views, theme, address ------------------------------------------------------------------------

async function view(name) {
  const isMap = name === "map";
  state.map = isMap;
  state.draw = name === "draw";
  state.copies = name === "copies";
  const isGrid = !isMap && !state.draw && !state.copies;
  $("view-copies").setAttribute("aria-pressed", String(state.copies));
  $("copies-panel").hidden = !state.copies;
  if (!state.copies) copies.leave();
  $("view-draw").setAttribute("aria-pressed", String(state.draw));
  $("draw-panel").hidden = !state.draw;
  $("search").hidden = $("found").hidden = state.draw || state.copies;
  $("timeline-row").hidden = $("search").hidden;
  $("view-map").setAttribute("aria-pressed", String(isMap));
  $("view-grid").setAttribute("aria-pressed", String(isGrid));
  $("map-panel").hidden = !isMap;
  if (isMap) await map.load(state.library.name).catch(complain);
  if (!state.draw && !state.copies) return search();
  remember();
  $("welcome").hidden = true;
  if (state.copies) return copies.load();
  if (!$("draw-words").value) $("draw-words").value = query.wanted;
}

$("view-grid").addEventListener("click", () => view("grid"));
$("view-map").addEventListener("click", () => view("map"));
$("view-copies").addEventListener("click", () => view("copies"));
$("view-draw").addEventListener("click", () => view("draw").then(() => $("draw-words").focus()));

$("theme").addEventListener("click", () => {
  const now = getComputedStyle(document.documentElement).colorScheme;
  paint(now === "dark" ? "light" : "dark");
});
function paint(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  try { if (theme) localStorage.setItem("theme", theme); } catch { /* private mode */ }
  map.draw();
}

/** The address says what is looked for, as far as words can; reloading shows the same. */
function remember() {
  const said = new URLSearchParams();
  if (state.libraries.length > 1) said.set("in", state.library.name);
  if (query.words) said.set("q", query.words);
  if (state.map || state.draw || state.copies) said.set("view", state.map ? "map" : state.draw ? "draw" : "copies");
  const hash = said.toString();
  if (location.hash.slice(1) !== hash) history.replaceState(null, "", hash ? `#${hash}` : location.pathname);
}

function login() {
  if (!$("login").open) $("login").showModal();
}
$("login").addEventListener("cancel", (event) => event.preventDefault());
$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await api.login($("token").value);
    $("login").close();
    start();
  } catch (error) {
    $("login-error").textContent = sentence(error);
  }
});

async function start() {
  try {
    const listed = api.libraries().catch((error) => error); // both are on their way at once
    if (!(await api.session()).ready) return login();
    const answer = await listed;
    if (answer instanceof Error) throw answer;
    state.libraries = answer.libraries;
    const said = new URLSearchParams(location.hash.slice(1));
    $("library").replaceChildren(...state.libraries.map((one) => h("option", { value: one.name }, one.name)));
    if (!state.libraries.length) return say("This server has no library.");
    const named = state.libraries.find((one) => one.name === said.get("in")) ?? state.libraries[0];
    $("words").value = said.get("q") ?? "";
    await choose(named.name);
    $("ideas").replaceChildren(...IDEAS.map((text) => h("li", {}, h("button", { type: "button", dir: "auto", onclick: () => query.only({ text }) }, text))));
    const needs = { draw: "generate", copies: "copies" }[said.get("view")];
    await view(needs && !state.library.features[needs] ? "grid" : said.get("view"));
    document.documentElement.dataset.ready = "true";
  } catch (error) {
    complain(error);
  }
}

keys.listen({ grid: () => results.focus() });

let theme = null;
try { theme = localStorage.getItem("theme"); } catch { /* private mode */ }
paint(theme === "dark" || theme === "light" ? theme : null);
window.diptych = { map, query }; // for whoever looks in the console, and for the tests
start();
