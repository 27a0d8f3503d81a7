// The grid of thumbnails. One of them is the current one: it alone is reached by Tab, the others by arrow keys.

import { $, h } from "./dom.js";
import { api } from "./api.js";
import { nice } from "./photos.js";
import { percent, told } from "./viewer.js";

export class Results {
  /** `acts`: open(hit, hits), like(hit), plus(hit), minus(hit), remove(hit). What is selected is in `selection`. */
  constructor(acts, selection) {
    this.acts = acts;
    this.selection = selection;
    this.anchor = null; // id of the card from which a range is selected
    this.library = null;
    this.can = {};
    this.hits = [];
    this.current = null; // the card
    $("results").addEventListener("keydown", (event) => this.pressed(event));
    $("results").addEventListener("focusin", (event) => this.point(event.target.closest(".card")));
  }

  use(library, can) { this.library = library; this.can = can; }

  /** Other images, or `more` behind those that are there; with headings where they are in order of date. Where the grid has the focus, it keeps it. */
  show(hits, more = false, isByDate = false) {
    const place = this.cards().indexOf(this.current), id = this.current?.dataset.id;
    const hadFocus = $("results").contains(document.activeElement);
    this.hits = more ? [...this.hits, ...hits] : hits;
    const best = this.hits[0]?.score;
    if (!more) this.when = null; // of the last heading
    const cards = hits.flatMap((hit) => [isByDate ? this.heading(hit) : null, this.card(hit, best)]).filter(Boolean);
    if (more) $("results").append(...cards);
    else $("results").replaceChildren(...cards);
    if (!this.hits.length) $("results").append(h("li", { class: "empty" }, "Nothing here. Try other words, or fewer filters."));
    const all = this.cards();
    const stays = hadFocus || more ? this.find(id) ?? all[Math.min(Math.max(place, 0), all.length - 1)] : all[0];
    this.point(stays ?? null);
    if (hadFocus && !more) this.focus();
    this.selection.draw();
  }

  cards() { return [...$("results").querySelectorAll(".card")]; }

  find(id) { return this.cards().find((card) => card.dataset.id === id); }

  /** The month of an image, where that before it is of another. */
  heading(hit) {
    const taken = hit.photo?.taken ?? hit.meta?.PHOTO_TAKEN;
    const when = taken === undefined ? "Without a date" : taken.length < "2024-05".length ? taken : nice(taken.slice(0, 7));
    if (when === this.when) return null;
    this.when = when;
    return h("li", { class: "when" }, h("h2", {}, when));
  }

  card(hit, best) {
    const name = told(hit);
    const image = h("img", { src: api.thumbnail(this.library, hit.id), alt: name, loading: "lazy", decoding: "async", dir: "auto" });
    const act = (label, sign, run, seldom = false) =>
      h("button", { type: "button", tabindex: "-1", class: seldom ? "seldom" : null, title: label, "aria-label": `${label}: ${name}`, onclick: run }, sign);
    const box = h("input", { type: "checkbox", tabindex: "-1", "aria-label": `Select ${name}`, onclick: (event) => this.choose(hit.id, event.shiftKey) });
    const open = (event) => (event.shiftKey || event.ctrlKey || event.metaKey ? this.choose(hit.id, event.shiftKey) : this.acts.open(hit, this.hits));
    box.checked = this.selection.has(hit.id);
    return h("li", { class: box.checked ? "card chosen" : "card", "data-id": hit.id },
      h("button", { type: "button", class: "open", tabindex: "-1", onclick: open }, image),
      h("label", { class: "pick" }, box),
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
    if (hit.words) return h("span", { class: "score", title: `Words in it: ${hit.words}` }, "words in it");
    const share = best > 0 ? Math.max(0, hit.score / best) : 0;
    return h("meter", { min: 0, max: 1, value: share.toFixed(3), title: `nearness ${hit.score.toFixed(3)}`, "aria-label": `nearness ${hit.score.toFixed(2)}` });
  }

  // -- selecting ----------------------------------------------------------------------------------

  /** Select an image or take it out; or select all from the one before to this one. */
  choose(id, isRange = false) {
    const all = this.hits.map((hit) => hit.id), from = all.indexOf(this.anchor), to = all.indexOf(id);
    if (isRange && from >= 0) this.selection.add(all.slice(Math.min(from, to), Math.max(from, to) + 1));
    else this.selection.toggle(id);
    this.anchor = id;
    this.point(this.find(id));
  }

  /** The cards as the selection is, whoever changed it. */
  mark() {
    for (const card of this.cards()) {
      const isChosen = this.selection.has(card.dataset.id);
      card.classList.toggle("chosen", isChosen);
      card.querySelector(".pick input").checked = isChosen;
    }
    $("results").classList.toggle("choosing", this.selection.chosen.size > 0);
  }

  // -- the current card ---------------------------------------------------------------------------

  /** Make a card the current one. */
  point(card) {
    if (card === undefined || card === this.current) return;
    for (const [one, tabindex] of [[this.current, "-1"], [card, "0"]]) {
      for (const stop of one?.querySelectorAll("button, input") ?? []) stop.setAttribute("tabindex", tabindex);
    }
    this.current = card;
  }

  /** The focus goes to the current card, or to that of an image. */
  focus(id = this.current?.dataset.id) {
    const card = this.find(id) ?? this.current;
    card?.querySelector(".open").focus();
  }

  pressed(event) {
    const card = event.target.closest(".card");
    if (!card || event.altKey) return;
    const id = card.dataset.id, isCommand = event.ctrlKey || event.metaKey;
    const next = isCommand ? undefined : this.next(card, event.key);
    if (next) {
      if (event.shiftKey) {
        if (!this.selection.has(id)) this.choose(id);
        this.anchor = id;
        this.choose(next.dataset.id, true);
      }
      this.focus(next.dataset.id);
    } else if (event.key === " " && !isCommand && event.target.matches(".open")) {
      this.choose(id, event.shiftKey);
    } else if (event.key === "a" && isCommand) {
      this.selection.add(this.hits.map((hit) => hit.id));
    } else if (event.key === "Delete" && !isCommand) {
      this.selection.remove();
    } else if (event.key === "Escape") {
      this.selection.clear();
    } else {
      return;
    }
    event.preventDefault();
  }

  /** Where a key leads from a card: the card beside it, that above or below, the first, the last. */
  next(card, key) {
    const all = this.cards(), place = all.indexOf(card);
    switch (key) {
      case "ArrowRight": return all[place + 1];
      case "ArrowLeft": return all[place - 1];
      case "Home": return all[0];
      case "End": return all.at(-1);
      case "ArrowDown": return beside(card, all.slice(place + 1));
      case "ArrowUp": return beside(card, all.slice(0, place).reverse());
      default: return undefined;
    }
  }
}

/** Of cards in order, of the first row that is not the card's own, the one that is nearest to right above or below it. */
function beside(card, others) {
  const first = others.find((one) => one.offsetTop !== card.offsetTop);
  const row = others.filter((one) => one.offsetTop === first?.offsetTop);
  const away = (one) => Math.abs(one.offsetLeft - card.offsetLeft);
  return row.reduce((nearest, one) => (nearest && away(nearest) <= away(one) ? nearest : one), undefined);
}
