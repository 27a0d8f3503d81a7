// The timeline: a bar for each month in which photos were taken. A click narrows the images to that month.

import { $, h, plural } from "./dom.js";
import { api } from "./api.js";
import { TAKEN, nice } from "./photos.js";

const MONTHS = ["01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12"];
const LEAST = 8; // per cent of the height, so that one image among thousands is seen

export class Timeline {
  /** `changed()` is called when it is opened or closed: while it is open, images are in order of their dates. */
  constructor(filters, changed) {
    this.filters = filters;
    this.changed = changed;
    this.library = null;
    this.current = null; // the button that Tab reaches
    $("timeline-open").addEventListener("click", () => this.toggle());
    $("timeline").addEventListener("keydown", (event) => this.pressed(event));
    $("timeline").addEventListener("focusin", (event) => this.point(event.target.closest("button")));
  }

  get isOpen() { return !$("timeline").hidden; }

  use(library, columns) {
    const can = TAKEN in columns;
    this.library = library;
    $("timeline-open").hidden = !can;
    if (!can) this.show(false);
    $("years-bars").replaceChildren();
    if (this.isOpen) this.load();
  }

  show(isOpen) {
    $("timeline").hidden = !isOpen;
    $("timeline-open").setAttribute("aria-expanded", String(isOpen));
  }

  toggle() {
    this.show(!this.isOpen);
    if (this.isOpen) this.load();
    this.changed();
  }

  /** Ask how many photos each month has; called again when images came or went. */
  async load() {
    const library = this.library;
    const found = await api.dates(library).catch(() => null);
    if (this.library !== library) return;
    $("timeline-said").textContent = found === null ? "The dates cannot be read just now."
      : !found.months.length ? "No image says when it was taken." : found.undated ? `${plural(found.undated, "image")} without a date.` : "";
    this.draw(found?.months ?? []);
  }

  draw(months) {
    const counts = new Map(months.map((one) => [one.month, one.count]));
    const most = Math.max(1, ...counts.values());
    const years = [...new Set(months.map((one) => one.month.slice(0, 4)))];
    $("years-bars").replaceChildren(...years.map((year) => {
      const own = MONTHS.map((month) => `${year}-${month}`);
      const all = own.reduce((sum, month) => sum + (counts.get(month) ?? 0), 0);
      return h("li", {}, h("div", { class: "months" }, ...own.map((month) => this.bar(month, counts.get(month) ?? 0, most))),
        this.button(year, `${year}, ${plural(all, "image")}`, "year", year));
    }));
    this.point($("years-bars").querySelector("button"));
    this.sync();
    $("timeline").scrollLeft = $("timeline").scrollWidth; // the newest first
  }

  bar(month, count, most) {
    if (!count) return h("span", { class: "none" });
    const share = h("span", { class: "share" });
    share.style.height = `${LEAST + ((100 - LEAST) * count) / most}%`;
    return this.button(month, `${nice(month)}, ${plural(count, "image")}`, "month", share);
  }

  button(when, label, kind, content) {
    return h("button", { type: "button", class: kind, tabindex: "-1", "data-when": when, "aria-label": label, title: label, "aria-pressed": "false",
      onclick: (event) => this.choose(when, event.shiftKey) }, content);
  }

  /** Only this month or year, or all up to it; what is chosen alone is given up by another click. */
  choose(when, isRange) {
    const [since, until] = [this.filters.value(TAKEN, "ge"), this.filters.value(TAKEN, "le")];
    const ends = isRange ? [since ?? when, when, until ?? when].sort() : [when, when];
    const isOn = !isRange && since === when && until === when;
    this.filters.set([[TAKEN, "ge", isOn ? null : ends[0]], [TAKEN, "le", isOn ? null : ends.at(-1)]]);
  }

  /** The buttons as the filters are, whoever changed them. */
  sync() {
    const [since, until] = [this.filters.value(TAKEN, "ge"), this.filters.value(TAKEN, "le")];
    for (const button of $("years-bars").querySelectorAll("button")) {
      const { when } = button.dataset;
      const isIn = (since !== undefined || until !== undefined) && (since === undefined || when >= since.slice(0, when.length)) && (until === undefined || when.slice(0, until.length) <= until);
      button.setAttribute("aria-pressed", String(isIn && (button.className === "month" || (since === when && until === when))));
    }
  }

  point(button) {
    if (!button) return;
    this.current?.setAttribute("tabindex", "-1");
    button.setAttribute("tabindex", "0");
    this.current = button;
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const all = [...$("years-bars").querySelectorAll("button")], place = all.indexOf(event.target.closest("button"));
    const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || !all[to]) return;
    event.preventDefault();
    all[to].focus();
  }
}
