// The tab that draws: words and a seed to an image, and beside it what that image finds in the library.

import { $, h, plural } from "./dom.js";
import { api } from "./api.js";

const SEEDS = 2 ** 31;
const FOUND = 12; // images beside it

export class Draw {
  /** `open(hit, hits)` shows an image of the library, one of several; `failed(error)` tells what went wrong. */
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
      const [image] = made.images;
      $("draw-seed").value = String(made.seed);
      this.show(image, made);
      $("draw-sides").hidden = false;
      const like = await api.search(this.library, { image: { data: image.data }, k: FOUND });
      if (turn !== this.turn) return;
      $("draw-found").replaceChildren(...like.hits.map((hit) => this.card(hit, like.hits)));
      say(`Drawn with seed ${made.seed}; ${plural(like.hits.length, "image")} like it.`);
    } catch (error) {
      say("");
      this.failed(error);
    }
  }

  show(image, made) {
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = URL.createObjectURL(file(image.data));
    $("drawn").replaceChildren(
      h("img", { src: image.data, alt: `Drawn for: ${made.text}`, width: image.width, height: image.height }),
      h("figcaption", {}, h("span", { dir: "auto" }, made.text), h("span", { class: "quiet" }, `${made.model}, seed ${made.seed}`),
        h("a", { class: "button second", href: this.address, download: `drawn-${made.seed}.png` }, "Download")));
  }

  card(hit, hits) {
    const name = hit.texts?.[0] || hit.name;
    return h("li", {}, h("button", { type: "button", class: "open", title: name, onclick: () => this.open(hit, hits) },
      h("img", { src: api.thumbnail(this.library, hit.id), alt: name, loading: "lazy" })));
  }
}

function file(uri) {
  const bytes = Uint8Array.from(atob(uri.slice(uri.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}
