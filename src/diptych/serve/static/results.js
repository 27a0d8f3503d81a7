// The grid of thumbnails, and the viewer that opens one.

import { $, h } from "./dom.js";
import { api } from "./api.js";

const told = (hit) => hit.texts?.[0] || hit.name;
const percent = (value) => `${Math.round(value * 100)} %`;

export class Results {
  /** `acts`: like(hit), plus(hit), minus(hit), remove(hit); why(hit) and describe(hit) give promises; words() are looked for; told(error) is a sentence. */
  constructor(acts) {
    this.acts = acts;
    this.library = null;
    this.can = {};
    this.hits = [];
    $("results").addEventListener("keydown", (event) => this.move(event));
    const viewer = $("viewer");
    viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
    viewer.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") this.step(1);
      if (event.key === "ArrowLeft") this.step(-1);
    });
  }

  use(library, can) { this.library = library; this.can = can; }

  show(hits, more = false) {
    this.hits = more ? [...this.hits, ...hits] : hits;
    const best = this.hits[0]?.score;
    const cards = hits.map((hit) => this.card(hit, best));
    if (more) $("results").append(...cards);
    else $("results").replaceChildren(...cards);
    if (!this.hits.length) $("results").append(h("li", { class: "empty" }, "Nothing here. Try other words, or fewer filters."));
  }

  card(hit, best) {
    const name = told(hit);
    const image = h("img", { src: api.thumbnail(this.library, hit.id), alt: name, loading: "lazy", decoding: "async", dir: "auto" });
    const act = (label, sign, run, seldom = false) =>
      h("button", { type: "button", class: seldom ? "seldom" : null, title: label, "aria-label": `${label}: ${name}`, onclick: run }, sign);
    return h("li", { class: "card", "data-id": hit.id },
      h("button", { type: "button", class: "open", onclick: () => this.open(hit) }, image),
      h("div", { class: "acts" },
        act("More like this", "≈", () => this.acts.like(hit)),
        act("Add to the search", "＋", () => this.acts.plus(hit), true),
        act("Take away from the search", "−", () => this.acts.minus(hit), true),
        this.can.write ? act("Delete", "✕", () => this.acts.remove(hit), true) : null),
      h("div", { class: "told" }, h("span", { class: "name", dir: "auto", title: name }, name), this.score(hit, best)));
  }

  /** Calibrated relevance where there is one; else how near this is compared with the nearest. */
  score(hit, best) {
    if (hit.score === undefined) return null;
    if (hit.relevance !== null && hit.relevance !== undefined) {
      return h("span", { class: "score", title: "How likely this is what you look for" }, percent(hit.relevance));
    }
    const share = best > 0 ? Math.max(0, hit.score / best) : 0;
    return h("meter", { min: 0, max: 1, value: share.toFixed(3), title: `nearness ${hit.score.toFixed(3)}`, "aria-label": `nearness ${hit.score.toFixed(2)}` });
  }

  move(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns(), ArrowUp: -this.columns() };
    const card = event.target.closest(".card");
    if (!card || !(event.key in steps)) return;
    const all = [...$("results").children];
    const next = all[all.indexOf(card) + steps[event.key]];
    if (next) { event.preventDefault(); next.querySelector(".open")?.focus(); }
  }

  columns() { return getComputedStyle($("results")).gridTemplateColumns.split(" ").length; }

  step(by) {
    const next = this.hits[this.hits.findIndex((hit) => hit.id === this.opened) + by];
    if (next) this.open(next);
  }

  open(hit) {
    const viewer = $("viewer");
    this.opened = hit.id;
    const close = () => viewer.close();
    const then = (run) => () => { close(); run(hit); };
    const image = h("img", { src: api.preview(this.library, hit.id), alt: told(hit) });
    image.addEventListener("error", () => { image.src = api.thumbnail(this.library, hit.id); }, { once: true });
    const figure = h("figure", {}, image);
    const facts = Object.entries(hit.meta ?? {}).filter(([, value]) => value !== null && typeof value !== "object");
    if (hit.width) facts.unshift(["size", `${hit.width} × ${hit.height}`]);
    if (hit.score !== undefined) facts.unshift([hit.scored_by === "cosine" ? "nearness" : "score", hit.score.toFixed(3)]);
    if (typeof hit.relevance === "number") facts.unshift(["likely right", percent(hit.relevance)]);
    if (typeof hit.cosine === "number") facts.push(["nearness", hit.cosine.toFixed(3)]);
    if (hit.path) facts.push(["file", hit.path]);
    const said = h("div", { class: "said" }, ...(hit.texts ?? []).slice(0, 8).map((text) => h("p", { dir: "auto" }, text)));
    const second = (label, run, properties = {}) => h("button", { type: "button", class: "second", onclick: run, ...properties }, label);
    const canWhy = this.can.explain && hit.score !== undefined && this.acts.words() !== "";
    viewer.replaceChildren(figure, h("div", { class: "side" },
      h("button", { type: "button", class: "round close", "aria-label": "Close", onclick: close }, "✕"),
      h("h2", { id: "viewer-name", dir: "auto" }, hit.name),
      said,
      h("p", { class: "working", role: "status" }),
      h("dl", {}, ...facts.flatMap(([key, value]) => [h("dt", {}, key), h("dd", { dir: "auto" }, String(value))])),
      h("div", { class: "acts" },
        h("button", { type: "button", onclick: then(this.acts.like) }, "More like this"),
        canWhy ? second("Why?", (event) => this.why(hit, figure, image, event.currentTarget), { "aria-pressed": "false" }) : null,
        this.can.caption ? second("Describe", (event) => this.describe(hit, said, event.currentTarget)) : null,
        second("＋ Add to search", then(this.acts.plus)),
        second("− Take away", then(this.acts.minus)),
        this.can.write ? h("button", { type: "button", class: "danger", onclick: then(this.acts.remove) }, "Delete") : null)));
    if (!viewer.open) viewer.showModal();
    viewer.querySelector(".close").focus();
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
