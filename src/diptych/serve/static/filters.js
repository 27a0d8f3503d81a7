// Filters: a property, a comparison, a value; all of them must hold.

import { $, h } from "./dom.js";
import { api } from "./api.js";
import { Photos } from "./photos.js";
import { Timeline } from "./timeline.js";

const WORDS = { eq: "exactly", contains: "containing", ne: "not", ge: "at least", le: "at most", exists: "known" };
const OPS = {
  text: ["contains", "eq", "ne", "exists"],
  number: ["ge", "le", "eq", "ne", "exists"],
  integer: ["ge", "le", "eq", "ne", "exists"],
  boolean: ["eq", "exists"],
  timestamp: ["ge", "le"],
};
const LEAST = ["id", "source", "content", "modified_ns", "digest", "meta", "path"]; // of no use to people
const NICE = {
  bytes: "size in bytes", modified: "date changed", texts: "description", suffix: "file type", name: "file name",
  PHOTO_TAKEN: "photo: date taken", PHOTO_TAKEN_ZONE: "photo: time zone", PHOTO_CAMERA: "photo: camera", PHOTO_LENS: "photo: lens",
  PHOTO_LATITUDE: "photo: latitude", PHOTO_LONGITUDE: "photo: longitude", PHOTO_RATING: "photo: rating",
  PHOTO_TITLE: "photo: title", PHOTO_KEYWORDS: "photo: keywords", PHOTO_WORDS: "photo: words in it",
};

export class Filters {
  constructor(changed) {
    this.changed = changed;
    this.library = null;
    this.columns = {};
    this.active = []; // conditions as the API takes them
    this.photos = new Photos(this);
    this.timeline = new Timeline(this, changed);
    $("filters-open").addEventListener("click", () => this.toggle());
    $("filter-column").addEventListener("change", () => this.column());
    $("filter-op").addEventListener("change", () => this.op());
    $("filter-add").addEventListener("click", () => this.add());
    $("filter-value").addEventListener("keydown", (event) => {
      if (event.key === "Enter") { event.preventDefault(); this.add(); }
    });
  }

  /** Another library: its columns, no filters. */
  use(library, columns) {
    this.library = library;
    this.columns = columns;
    this.active = [];
    const names = Object.keys(columns).filter((name) => !LEAST.includes(name)).sort();
    const own = names.filter((name) => !(name in NICE) && !["width", "height", "folder", "split", "group"].includes(name));
    const order = [...own, ...names.filter((name) => !own.includes(name))];
    $("filter-column").replaceChildren(...order.map((name) => h("option", { value: name }, NICE[name] ?? name)));
    this.column();
    this.draw();
    this.photos.use(library, columns);
    this.timeline.use(library, columns);
  }

  toggle() {
    const open = $("filters").hidden;
    $("filters").hidden = !open;
    $("filters-open").setAttribute("aria-expanded", String(open));
    if (open) this.photos.open();
    else this.photos.close();
    if (open) this.column();
    if (open) $("filter-column").focus();
  }

  async column() {
    const name = $("filter-column").value;
    const kind = this.columns[name] ?? "text";
    $("filter-op").replaceChildren(...(OPS[kind] ?? OPS.text).map((op) => h("option", { value: op }, WORDS[op])));
    $("filter-value").type = kind === "timestamp" ? "date" : ["number", "integer"].includes(kind) ? "number" : "text";
    $("filter-value").value = "";
    this.op();
    $("filter-values").replaceChildren();
    if ($("filters").hidden || !["text", "number"].includes(kind)) return;
    const found = await api.facets(this.library, name).catch(() => null);
    if (!found || $("filter-column").value !== name) return;
    const usual = found.values.filter((one) => String(one.value).length < 60);
    $("filter-values").replaceChildren(...usual.map((one) => h("option", { value: one.value, label: `${one.value} (${one.count})` })));
  }

  op() { $("filter-value").parentElement.hidden = $("filter-op").value === "exists"; }

  add() {
    const column = $("filter-column").value;
    const op = $("filter-op").value;
    const kind = this.columns[column];
    const typed = $("filter-value").value.trim();
    if (op !== "exists" && typed === "") return $("filter-value").focus();
    let value = typed;
    if (kind === "number" || kind === "integer") value = Number(typed);
    if (kind === "boolean") value = typed.toLowerCase() === "true";
    if (op === "exists") value = true;
    this.active.push({ column, op, value });
    $("filter-value").value = "";
    this.draw();
    this.changed();
  }

  /** What a column is compared with, where there is such a filter. */
  value(column, op) { return this.active.find((one) => one.column === column && one.op === op)?.value; }

  /** Other values for columns and comparisons, of which there is one filter each; null takes it away. */
  set(changes) {
    for (const [column, op, value] of changes) {
      const place = this.active.findIndex((one) => one.column === column && one.op === op);
      if (place >= 0) this.active.splice(place, 1, ...(value === null ? [] : [{ column, op, value }]));
      else if (value !== null) this.active.push({ column, op, value });
    }
    this.draw();
    this.changed();
  }

  drop(place) {
    this.active.splice(place, 1);
    this.draw();
    this.changed();
    $("filters-open").focus();
  }

  draw() {
    this.photos.sync();
    this.timeline.sync();
    $("active-filters").replaceChildren(...this.active.map((one, place) => {
      const text = `${NICE[one.column] ?? one.column} ${WORDS[one.op]}${one.op === "exists" ? "" : ` ${one.value}`}`;
      return h("li", { class: "term" }, h("span", { class: "said", dir: "auto" }, "\u2002" + text),
        h("button", { type: "button", class: "gone", onclick: () => this.drop(place), "aria-label": `Remove filter: ${text}` }, "✕"));
    }));
  }
}
