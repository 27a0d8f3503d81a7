// What photos say, as filters: from when to when they were taken, in which year, with which camera.

import { $, h, plural } from "./dom.js";
import { api } from "./api.js";

export const TAKEN = "PHOTO_TAKEN";
const CAMERA = "PHOTO_CAMERA";
const MOST = 12; // years, and cameras
export const nice = (month) => new Date(`${month}-01T00:00:00Z`).toLocaleDateString("en", { month: "short", year: "numeric", timeZone: "UTC" });

export class Photos {
  constructor(filters) {
    this.filters = filters;
    this.library = null;
    this.asked = null; // the library whose dates and cameras are here
    this.months = []; // those that have images, in order
    this.undated = 0;
    for (const id of ["date-from", "date-to"]) {
      $(id).addEventListener("input", () => this.moved(id));
      $(id).addEventListener("change", () => this.apply());
    }
  }

  use(library, columns) {
    this.library = library;
    this.asked = null;
    this.can = { dates: TAKEN in columns, cameras: CAMERA in columns };
    $("photo-filters").hidden = true;
    if (!$("filters").hidden) this.open();
  }

  /** The filters are shown: dates and cameras are asked for once. */
  async open() {
    if (!this.can.dates && !this.can.cameras) return;
    const library = this.library;
    if (this.asked !== library) {
      this.asked = library;
      const none = (error) => { this.asked = null; throw error; };
      const [dates, cameras] = await Promise.all([
        this.can.dates ? api.dates(library).catch(none) : { months: [], undated: 0 },
        this.can.cameras ? api.facets(library, CAMERA).catch(none) : { values: [] },
      ]).catch(() => [null, null]);
      if (!dates || this.library !== library) return;
      this.show(dates, cameras.values.slice(0, MOST));
    }
    $("photo-filters").hidden = $("filters").hidden || (!this.months.length && !$("cameras").childElementCount);
    this.sync();
  }

  close() { $("photo-filters").hidden = true; }

  show(dates, cameras) {
    this.months = dates.months.map((one) => one.month);
    this.undated = dates.undated;
    const years = new Map();
    for (const one of dates.months) years.set(one.month.slice(0, 4), (years.get(one.month.slice(0, 4)) ?? 0) + one.count);
    const newest = [...years].reverse().slice(0, MOST);
    const choice = (value, count, run) => h("button", { type: "button", class: "choice", "data-value": value, "aria-pressed": "false", onclick: run }, value, h("span", { class: "quiet" }, ` ${count.toLocaleString()}`));
    $("years").replaceChildren(...newest.map(([year, count]) => choice(year, count, () => this.year(year))));
    $("cameras").replaceChildren(...cameras.map((one) => choice(one.value, one.count, () => this.camera(one.value))));
    $("dates").hidden = this.months.length < 2;
    $("years-row").hidden = newest.length < 2;
    $("cameras-row").hidden = !cameras.length;
    for (const id of ["date-from", "date-to"]) $(id).max = String(Math.max(0, this.months.length - 1));
  }

  year(year) {
    const isOn = this.filters.value(TAKEN, "ge") === year && this.filters.value(TAKEN, "le") === year;
    this.filters.set([[TAKEN, "ge", isOn ? null : year], [TAKEN, "le", isOn ? null : year]]);
  }

  camera(name) { this.filters.set([[CAMERA, "eq", this.filters.value(CAMERA, "eq") === name ? null : name]]); }

  /** One end was moved: it takes the other along. */
  moved(id) {
    const [from, to] = [$("date-from"), $("date-to")];
    if (Number(from.value) > Number(to.value)) (id === "date-from" ? to : from).value = $(id).value;
    this.say();
  }

  apply() {
    const from = Number($("date-from").value), to = Number($("date-to").value);
    this.filters.set([
      [TAKEN, "ge", from === 0 ? null : this.months[from]],
      [TAKEN, "le", to === this.months.length - 1 ? null : this.months[to]],
    ]);
  }

  /** The ends and buttons as the filters are, whoever changed them. */
  sync() {
    const since = this.filters.value(TAKEN, "ge"), until = this.filters.value(TAKEN, "le");
    const first = since === undefined ? 0 : this.months.findIndex((month) => month >= since.slice(0, 7));
    const last = until === undefined ? this.months.length - 1 : this.months.findLastIndex((month) => month.slice(0, until.length) <= until);
    $("date-from").value = String(first < 0 ? this.months.length - 1 : first);
    $("date-to").value = String(Math.max(0, last));
    for (const button of $("years").children) button.setAttribute("aria-pressed", String(since === button.dataset.value && until === since));
    for (const button of $("cameras").children) button.setAttribute("aria-pressed", String(this.filters.value(CAMERA, "eq") === button.dataset.value));
    this.say();
  }

  say() {
    if (this.months.length < 2) return;
    const [from, to] = ["date-from", "date-to"].map((id) => nice(this.months[Number($(id).value)]));
    $("date-from").setAttribute("aria-valuetext", from);
    $("date-to").setAttribute("aria-valuetext", to);
    const isAll = $("date-from").value === "0" && Number($("date-to").value) === this.months.length - 1;
    const hidden = !isAll && this.undated ? `; ${plural(this.undated, "image")} without a date left out` : "";
    $("dates-said").textContent = `${from} to ${to}${hidden}`;
  }
}
