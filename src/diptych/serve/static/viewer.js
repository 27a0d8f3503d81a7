// The large view of one image: what is known about it, what is like it, and what can be done with it.

import { $, h, plural } from "./dom.js";
import { api } from "./api.js";

const PAUSE = 200; // milliseconds on one image before similar ones are looked for
const SIMILAR = 6;
const MOST_STARS = 5;

export const told = (hit) => hit.texts?.[0] || hit.name;
export const percent = (value) => `${Math.round(value * 100)} %`;

export class Viewer {
  /**
   * `acts`: like(hit), plus(hit), minus(hit), remove(hit); why(hit) and describe(hit) give promises; words() are looked
   * for; told(error) is a sentence; closed(id) is called with the image that was open. What is selected is in `selection`.
   */
  constructor(acts, selection) {
    this.acts = acts;
    this.selection = selection;
    this.library = null;
    this.can = {};
    this.opened = null; // id
    this.among = []; // hits that the arrow keys step through
    const viewer = $("viewer");
    viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
    viewer.addEventListener("keydown", (event) => this.pressed(event));
    viewer.addEventListener("close", () => this.left());
  }

  use(library, can) { this.library = library; this.can = can; }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && !event.target.closest("button")) {
      event.preventDefault();
      this.selection.toggle(this.opened);
    }
    const place = this.place();
    const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: this.among.length - 1 }[event.key];
    if (to === undefined || place < 0) return;
    event.preventDefault();
    this.go(to);
  }

  place() { return this.among.findIndex((hit) => hit.id === this.opened); }

  go(place) {
    const next = this.among[place];
    if (next && next.id !== this.opened) this.open(next, this.among);
  }

  left() {
    const last = this.opened;
    this.opened = null;
    this.stop();
    $("viewer").replaceChildren();
    this.acts.closed(last);
  }

  /** What was asked for about the image before is not waited for. */
  stop() {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.asking = new AbortController();
  }

  open(hit, among = [hit]) {
    const viewer = $("viewer");
    this.stop();
    this.opened = hit.id;
    this.among = among;
    const then = (run) => () => { viewer.close(); run(hit); };
    const image = h("img", { src: api.preview(this.library, hit.id), alt: told(hit) });
    image.addEventListener("error", () => { image.src = api.thumbnail(this.library, hit.id); }, { once: true });
    const figure = h("figure", {}, image);
    const said = h("div", { class: "said" }, ...(hit.texts ?? []).slice(0, 8).map((text) => h("p", { dir: "auto" }, text)));
    const facts = h("dl", {});
    const similar = h("section", { class: "similar", "aria-labelledby": "similar-title", hidden: true });
    const second = (label, run, properties = {}) => h("button", { type: "button", class: "second", onclick: run, ...properties }, label);
    const canWhy = this.can.explain && hit.score !== undefined && this.acts.words() !== "";
    viewer.replaceChildren(h("div", { class: "stage" }, figure, ...this.steps()), h("div", { class: "side" },
      h("button", { type: "button", class: "round close", "aria-label": "Close", onclick: () => viewer.close() }, "✕"),
      h("h2", { id: "viewer-name", dir: "auto", tabindex: "-1" }, hit.name),
      said,
      h("p", { class: "working", role: "status" }),
      facts,
      similar,
      h("div", { class: "acts" },
        h("button", { type: "button", onclick: then(this.acts.like) }, "More like this"),
        canWhy ? second("Why?", (event) => this.why(hit, figure, image, event.currentTarget), { "aria-pressed": "false" }) : null,
        this.can.caption ? second("Describe", (event) => this.describe(hit, said, event.currentTarget)) : null,
        second("Select", () => this.selection.toggle(hit.id), { id: "viewer-select", "aria-pressed": String(this.selection.has(hit.id)) }),
        second("＋ Add to search", then(this.acts.plus)),
        second("− Take away", then(this.acts.minus)),
        this.can.write ? h("button", { type: "button", class: "danger", onclick: then(this.acts.remove) }, "Delete") : null)));
    tell(facts, hit);
    if (!viewer.open) viewer.showModal();
    viewer.scrollTop = 0;
    $("viewer-name").focus();
    this.learn(hit, facts);
    this.timer = setTimeout(() => this.lookAround(hit, similar), PAUSE);
  }

  /** The button as the selection is. */
  mark() { $("viewer-select")?.setAttribute("aria-pressed", String(this.selection.has(this.opened))); }

  /** Buttons to the images before and behind, where there are any. */
  steps() {
    if (this.among.length < 2 || this.place() < 0) return [];
    const place = this.place();
    const step = (label, sign, to) => h("button", { type: "button", class: `round step ${to < place ? "before" : "behind"}`, "aria-label": label, disabled: !this.among[to], onclick: () => this.go(to) }, h("span", { "aria-hidden": "true" }, sign));
    return [step("Image before", "‹", place - 1), step("Next image", "›", place + 1),
      h("p", { class: "place" }, `${(place + 1).toLocaleString()} of ${this.among.length.toLocaleString()}`)];
  }

  /** What only the item itself tells: when and where it was taken, and with what. */
  async learn(hit, facts) {
    const found = await api.item(this.library, hit.id).catch(() => null); // what the hit says is shown already
    if (found && this.opened === hit.id) tell(facts, { ...hit, photo: found.photo });
  }

  async lookAround(hit, similar) {
    const asked = { image: { id: hit.id }, k: SIMILAR };
    const found = await api.search(this.library, asked, this.asking.signal).catch(() => null); // nothing like it is shown
    if (!found?.hits.length || this.opened !== hit.id) return;
    const row = [hit, ...found.hits];
    similar.replaceChildren(h("h3", { id: "similar-title" }, "Similar"),
      h("ul", {}, ...found.hits.map((one) => h("li", {}, h("button", { type: "button", class: "open", title: told(one), onclick: () => this.open(one, row) },
        h("img", { src: api.thumbnail(this.library, one.id), alt: told(one), dir: "auto", decoding: "async" }))))));
    similar.hidden = false;
  }

  /** How much each word counts and where, in place of the image; the button switches it on and off. */
  async why(hit, figure, image, button) {
    if (button.getAttribute("aria-pressed") === "true") {
      button.setAttribute("aria-pressed", "false");
      figure.classList.remove("why");
      return figure.replaceChildren(image);
    }
    const told = await this.look(hit, button, "Computing how much each word counts…", () => this.acts.why(hit));
    if (!told) return;
    button.setAttribute("aria-pressed", "true");
    const unit = told.unit === "nats" ? "nats that the image adds" : "of the cosine";
    const words = told.words.map((one) => h("li", { class: one.weight < 0 ? "against" : "for" },
      h("span", { dir: "auto" }, one.word), " ", h("span", { class: "quiet" }, `${one.weight < 0 ? "−" : "+"}${Math.abs(one.weight).toFixed(told.unit === "nats" ? 1 : 3)}`)));
    figure.classList.add("why");
    figure.replaceChildren(
      h("img", { src: told.overlay, alt: `Where in the image ${told.model} sees: ${told.text}` }),
      h("figcaption", {}, h("p", { class: "quiet", role: "status" }, `What each word is worth here, ${unit}:`), h("ul", { class: "whys" }, ...words),
        h("p", { class: "quiet key" }, h("span", { class: "for" }), " speaks for the match ", h("span", { class: "against" }), " against it"),
        told.from_thumbnail ? h("p", { class: "quiet" }, "The file is gone or has changed; this is its thumbnail.") : null));
  }

  /** The result of slow work on the open image, or null: the viewer says at once that it is under way, and what went wrong. */
  async look(hit, button, what, work) {
    const line = $("viewer").querySelector(".working");
    const bar = h("progress", { "aria-label": what }), words = h("span", {}, what);
    line.classList.remove("wrong");
    line.replaceChildren(words, bar);
    const late = setTimeout(() => { words.textContent = `${what} The server is busy; this may take a while.`; }, 5000);
    try {
      const told = await busy(button, work);
      if (this.opened !== hit.id) return null;
      line.replaceChildren();
      return told;
    } catch (error) {
      if (this.opened !== hit.id) return null;
      line.classList.add("wrong");
      line.replaceChildren(this.acts.told(error));
      return null;
    } finally {
      clearTimeout(late);
    }
  }

  async describe(hit, said, button) {
    const told = await this.look(hit, button, "Looking for words…", () => this.acts.describe(hit));
    if (!told) return;
    said.querySelector(".guess")?.remove();
    said.append(h("p", { class: "guess", role: "status", dir: "auto" }, told.text, h("span", { class: "quiet" }, `says ${told.model}`)));
  }
}

/** Write what is known about an image into a list of properties. */
function tell(facts, hit) {
  const known = [];
  if (typeof hit.relevance === "number") known.push(["likely right", percent(hit.relevance)]);
  if (hit.score !== undefined) known.push([hit.scored_by === "cosine" ? "nearness" : "score", hit.score.toFixed(3)]);
  if (typeof hit.cosine === "number") known.push(["nearness", hit.cosine.toFixed(3)]);
  known.push(...photographed(hit.photo ?? {}));
  if (hit.width) known.push(["size", `${hit.width} × ${hit.height}`]);
  known.push(...Object.entries(hit.meta ?? {}).filter(([key, value]) => value !== null && typeof value !== "object" && !key.startsWith("PHOTO_")));
  if (hit.path) known.push(["file", hit.path]);
  facts.replaceChildren(...known.flatMap(([key, value]) => [h("dt", {}, key), h("dd", { dir: "auto" }, String(value))]));
}

function photographed(photo) {
  const known = [];
  if (photo.taken) known.push(["taken", moment(photo.taken) + (photo.taken_zone ? ` (${photo.taken_zone})` : "")]);
  for (const key of ["camera", "lens"]) if (photo[key]) known.push([key, photo[key]]);
  if (typeof photo.latitude === "number") known.push(["place", `${degrees(photo.latitude, "N", "S")}, ${degrees(photo.longitude, "E", "W")}`]);
  if (typeof photo.rating === "number") known.push(["rating", photo.rating < 0 ? "rejected" : `${plural(photo.rating, "star")} of ${MOST_STARS}`]);
  if (photo.title) known.push(["title", photo.title]);
  if (photo.words) known.push(["words in it", photo.words]);
  if (photo.keywords) known.push(["keywords", photo.keywords.join(", ")]);
  return known;
}

/** What the camera's clock showed; read as UTC, so that no zone moves it. What is not exact to the minute stays as it is written. */
function moment(taken) {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(taken)) return taken;
  return new Date(`${taken}Z`).toLocaleString("en", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });
}

const degrees = (value, positive, negative) => `${Math.abs(value).toFixed(4)}° ${value < 0 ? negative : positive}`;

async function busy(button, work) {
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  try {
    return await work();
  } finally {
    button.disabled = false;
    button.removeAttribute("aria-busy");
    if (document.activeElement === document.body) button.focus();
  }
}
