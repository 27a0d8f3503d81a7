// The view of copies of one image: groups, the best of each marked, the others to be chosen and deleted.

import { $, h, plural } from "./dom.js";
import { api } from "./api.js";

const size = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

export class Copies {
  /** `acts`: open(image) shows one; remove(ids) puts images into the trash; failed(error) tells what went wrong. */
  constructor(acts) {
    this.acts = acts;
    this.library = null;
    this.write = false;
    this.found = null;
    $("copies-all").addEventListener("click", () => this.choose((box) => box.dataset.best !== "true"));
    $("copies-none").addEventListener("click", () => this.choose(() => false));
    $("copies-delete").addEventListener("click", () => this.acts.remove(this.chosen()));
    $("copies").addEventListener("change", () => this.count());
  }

  use(library, write) { this.library = library; this.write = write; }

  /** Another view: what is asked for is not waited for. */
  leave() { this.asking?.abort(); }

  async load() {
    this.leave();
    const turn = (this.asking = new AbortController());
    $("copies-status").textContent = "Looking for copies… In a large library this takes a while.";
    $("copies").setAttribute("aria-busy", "true");
    try {
      const found = await api.copies(this.library, turn.signal);
      if (turn === this.asking) this.show(found);
    } catch (error) {
      if (turn !== this.asking) return;
      $("copies-status").textContent = "";
      this.acts.failed(error);
    } finally {
      if (turn === this.asking) $("copies").removeAttribute("aria-busy");
    }
  }

  show(found) {
    this.found = found;
    $("copies").replaceChildren(...found.groups.map((group) => this.group(group)));
    const all = found.groups.length < found.total ? ` The ${found.groups.length} groups that take most are shown.` : "";
    const what = found.total ? `${plural(found.total, "image")} of ${found.images.toLocaleString()} with ${plural(found.spare, "spare copy", "spare copies")}, ${size(found.spare_bytes)}.${all}`
      : `No copies among ${plural(found.images, "image")}.`;
    $("copies-status").textContent = [what, ...found.notes.map((note) => `${note.charAt(0).toUpperCase()}${note.slice(1)}.`)].join(" ");
    $("copies-acts").hidden = !this.write || !found.total;
    this.count();
  }

  group(group) {
    const copies = [group.best, ...group.others];
    return h("li", {}, h("fieldset", { class: "copy-group" },
      h("legend", { dir: "auto" }, `${group.best.name}: ${copies.length} copies`),
      h("ul", { class: "copy-row" }, ...copies.map((copy) => this.copy(copy, copy === group.best ? group.reason : null)))));
  }

  copy(copy, reason) {
    const facts = `${copy.width} × ${copy.height}, ${size(copy.bytes)}`;
    const open = h("button", { type: "button", class: "open", onclick: () => this.acts.open(copy) },
      h("img", { src: api.thumbnail(this.library, copy.id), alt: `${copy.name}, ${reason ? "the best" : copy.how}`, loading: "lazy", decoding: "async" }));
    const box = h("input", { type: "checkbox", value: copy.id, "data-best": String(reason !== null) });
    return h("li", { class: reason ? "copy best" : "copy" }, open,
      h("div", { class: "copy-told" },
        reason ? h("strong", {}, "Best") : null,
        h("span", { dir: "auto" }, copy.path ?? copy.name),
        h("span", { class: "quiet" }, facts),
        h("span", { class: "quiet" }, reason ?? copy.how)),
      this.write ? h("label", { class: "copy-choice" }, box, "Delete", h("span", { class: "unseen", dir: "auto" }, ` ${copy.name}, ${facts}`)) : null);
  }

  boxes() { return [...$("copies").querySelectorAll("input[type=checkbox]")]; }

  chosen() { return this.boxes().filter((box) => box.checked).map((box) => box.value); }

  choose(wanted) {
    for (const box of this.boxes()) box.checked = wanted(box);
    this.count();
  }

  /** What the button says; and a warning where nothing of an image would be left. */
  count() {
    const chosen = new Set(this.chosen());
    const whole = (this.found?.groups ?? []).filter((group) => [group.best, ...group.others].every((copy) => chosen.has(copy.id)));
    $("copies-delete").disabled = chosen.size === 0;
    $("copies-delete").textContent = `Delete ${chosen.size.toLocaleString()} marked`;
    $("copies-warning").textContent = whole.length ? `Every copy of ${plural(whole.length, "image")} is marked: none of it would be left.` : "";
  }
}
