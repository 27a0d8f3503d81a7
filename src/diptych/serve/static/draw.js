// The tab that draws: words and a seed to a picture, and beside it what that picture finds in the collection.

import { $, h, plural } from "./dom.js";
import { api } from "./api.js";

const SEEDS = 2 ** 31;
const FOUND = 12; // pictures beside it

export class Draw {
  /** `open(hit)` shows a picture of the collection; `failed(error)` tells what went wrong. */
  constructor(open, failed) {
    this.open = open;
    this.failed = failed;
    this.library = null;
    this.address = null; // of the file to save
    $("draw-form").addEventListener("submit", (event) => { event.preventDefault(); this.draw(); });
    $("draw-new").addEventListener("click", () => { $("draw-seed").value = String(Math.floor(Math.random() * SEEDS)); this.draw(); });
  }

  use(library) { this.library = library; }

  async draw() {
    const text = $("draw-words").value.trim();
    if (!text) return $("draw-words").focus();
    const seed = $("draw-seed").value === "" ? null : Number($("draw-seed").value);
    const say = (message) => { $("draw-status").textContent = message; };
    const turn = (this.turn = Symbol("turn"));
    say("Drawing…");
    try {
      const made = await api.generate({ text, seed });
      if (turn !== this.turn) return;
      const [picture] = made.pictures;
      $("draw-seed").value = String(made.seed);
      this.show(picture, made);
      $("draw-sides").hidden = false;
      const like = await api.search(this.library, { image: { data: picture.data }, k: FOUND });
      if (turn !== this.turn) return;
      $("draw-found").replaceChildren(...like.hits.map((hit) => this.card(hit)));
      say(`Drawn with seed ${made.seed}; ${plural(like.hits.length, "picture")} like it.`);
    } catch (error) {
      say("");
      this.failed(error);
    }
  }

  show(picture, made) {
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = URL.createObjectURL(file(picture.data));
    $("drawn").replaceChildren(
      h("img", { src: picture.data, alt: `Drawn for: ${made.text}`, width: picture.width, height: picture.height }),
      h("figcaption", {}, h("span", { dir: "auto" }, made.text), h("span", { class: "quiet" }, `${made.model}, seed ${made.seed}`),
        h("a", { class: "button second", href: this.address, download: `drawn-${made.seed}.png` }, "Download")));
  }

  card(hit) {
    const name = hit.texts?.[0] || hit.name;
    return h("li", {}, h("button", { type: "button", class: "open", title: name, onclick: () => this.open(hit) },
      h("img", { src: api.thumbnail(this.library, hit.id), alt: name, loading: "lazy" })));
  }
}

function file(uri) {
  const bytes = Uint8Array.from(atob(uri.slice(uri.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}
