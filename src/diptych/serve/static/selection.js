// Images that were selected, and the bar that says how many and what can be done with them.

import { $, h, plural } from "./dom.js";
import { api } from "./api.js";

export class Selection {
  /** `acts`: remove(ids) puts images into the trash; shown() are the hits of the grid; changed() says that others are selected; say(text) tells; failed(error) tells what went wrong. */
  constructor(acts) {
    this.acts = acts;
    this.library = null;
    this.chosen = new Set(); // ids
    $("select-all").addEventListener("click", () => this.add(this.acts.shown().map((hit) => hit.id)));
    $("select-none").addEventListener("click", () => this.clear());
    $("select-delete").addEventListener("click", () => this.remove());
    for (const button of document.querySelectorAll("#selection [data-format]")) {
      button.addEventListener("click", () => this.export(button));
    }
  }

  use(library, can) {
    this.library = library;
    this.can = can;
    $("select-delete").hidden = !can.write;
    $("select-zip").hidden = !can.files;
    this.clear();
  }

  has(id) { return this.chosen.has(id); }

  add(ids) { this.set(ids, true); }
  toggle(id) { this.set([id], !this.has(id)); }
  drop(ids) { this.set(ids, false); }
  clear() { this.drop([...this.chosen]); }

  set(ids, isIn) {
    for (const id of ids) isIn ? this.chosen.add(id) : this.chosen.delete(id);
    this.draw();
    this.acts.changed();
  }

  draw() {
    const shown = new Set(this.acts.shown().map((hit) => hit.id));
    const hidden = [...this.chosen].filter((id) => !shown.has(id)).length;
    $("selection").hidden = this.chosen.size === 0;
    $("selected").textContent = `${this.chosen.size.toLocaleString()} selected${hidden ? `, ${hidden.toLocaleString()} of them not shown here` : ""}`;
    $("select-all").disabled = shown.size + hidden === this.chosen.size;
  }

  remove() {
    if (this.chosen.size && this.can.write) this.acts.remove([...this.chosen]);
  }

  /** The file is made by the server and saved by the browser. */
  async export(button) {
    const format = button.dataset.format, count = this.chosen.size;
    button.disabled = true;
    this.acts.say(`Exporting ${plural(count, "image")}…`);
    try {
      const { file, missing } = await api.export(this.library, [...this.chosen], format);
      const address = URL.createObjectURL(file);
      h("a", { href: address, download: `${this.library}-${count}.${format}` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000); // the browser has begun to save it by then
      this.acts.say(missing ? `${plural(missing, "image is", "images are")} not in the library any more and not in the file.` : `Exported ${plural(count, "image")}.`);
    } catch (error) {
      this.acts.say("");
      this.acts.failed(error);
    } finally {
      button.disabled = false;
    }
  }
}
