// What is being looked for: chips (words or images, added or taken away) and the words being typed.

import { $, h } from "./dom.js";

const narrow = matchMedia("(max-width: 640px)"); // where the longer question would be cut

export class Query {
  constructor(changed) {
    this.terms = []; // {sign: 1 | -1, text} or {sign, uri, shown} or {sign, id, shown, name}
    this.sign = 1; // of the words being typed
    this.changed = changed;
    const words = $("words");
    words.addEventListener("input", () => changed());
    words.addEventListener("keydown", (event) => {
      if (event.key === "Backspace" && words.value === "" && this.terms.length) this.drop(this.terms.length - 1);
    });
    $("plus").addEventListener("click", () => this.next(1));
    $("minus").addEventListener("click", () => this.next(-1));
    narrow.addEventListener("change", () => this.draw());
    this.draw();
  }

  get words() { return $("words").value.trim(); }
  get isEmpty() { return this.terms.length === 0 && this.words === ""; }

  /** The words that are looked for, chips included; what is taken away is not among them. */
  get wanted() {
    const said = this.terms.filter((term) => term.sign > 0 && term.text !== undefined).map((term) => term.text);
    if (this.words && this.sign > 0) said.push(this.words);
    return said.join(" ");
  }

  /** The request's part that says what to look for, or null when nothing is. */
  asked() {
    const typed = this.words ? [{ sign: this.sign, text: this.words }] : [];
    const all = [...this.terms, ...typed];
    if (all.length === 0) return null;
    if (all.length === 1 && all[0].sign > 0) {
      const only = all[0];
      return only.text !== undefined ? { text: only.text } : { image: source(only) };
    }
    return { terms: all.map((one) => ({ weight: one.sign, ...(one.text !== undefined ? { text: one.text } : { image: source(one) }) })) };
  }

  /** Keep the typed words as a chip and go on with words of this sign. */
  next(sign) {
    if (this.words) {
      this.terms.push({ sign: this.sign, text: this.words });
      $("words").value = "";
    }
    this.sign = this.sign === sign && sign < 0 && this.terms.length === 0 ? 1 : sign;
    this.draw();
    $("words").focus();
    this.changed();
  }

  add(term) {
    this.terms.push({ sign: 1, ...term });
    this.draw();
    this.changed();
  }

  /** Look for nothing but this. */
  only(term) {
    this.terms = term.text !== undefined ? [] : [{ sign: 1, ...term }];
    $("words").value = term.text ?? "";
    this.sign = 1;
    this.draw();
    this.changed();
  }

  clear() {
    this.terms = [];
    this.sign = 1;
    $("words").value = "";
    this.draw();
    this.changed();
  }

  drop(place) {
    this.terms.splice(place, 1);
    this.draw();
    $("words").focus();
    this.changed();
  }

  turn(place) {
    this.terms[place].sign *= -1;
    this.draw();
    this.changed();
    $("terms").children[place]?.querySelector(".sign").focus();
  }

  draw() {
    $("minus").setAttribute("aria-pressed", String(this.sign < 0));
    $("plus").setAttribute("aria-pressed", String(this.sign > 0 && this.terms.length > 0));
    $("words").setAttribute("placeholder", this.sign < 0 ? "without …" : this.terms.length ? "and …" : narrow.matches ? "What are you looking for?" : "What are you looking for? Any language will do");
    $("words-label").textContent = this.sign < 0 ? "Words to take away" : "What are you looking for?";
    $("terms").replaceChildren(...this.terms.map((term, place) => this.chip(term, place)));
  }

  chip(term, place) {
    const name = term.text ?? term.name ?? "image";
    const what = term.sign > 0 ? "added" : "taken away";
    return h("li", { class: term.sign > 0 ? "term" : "term take" },
      h("button", { type: "button", class: "sign", onclick: () => this.turn(place), "aria-label": `${name} is ${what}; turn it round` }, term.sign > 0 ? "＋" : "−"),
      term.text !== undefined ? h("span", { class: "said", dir: "auto" }, term.text) : h("img", { src: term.shown, alt: name }),
      h("button", { type: "button", class: "gone", onclick: () => this.drop(place), "aria-label": `Remove ${name}` }, "✕"));
  }
}

const source = (term) => (term.id ? { id: term.id } : { data: term.uri });
