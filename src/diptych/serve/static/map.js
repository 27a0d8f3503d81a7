// The embedding map: every image a point; near points show their images when there is room.

import { $, h } from "./dom.js";
import { api } from "./api.js";
import { Points } from "./points.js";

const CELLS = 128; // a side of the grid that finds points
const MOST_IMAGES = 60;
const GAP = 70; // pixels between images
const LARGEST = 18; // pixels across a point

export class EmbeddingMap {
  /** `open(id)` is called for the image that was chosen. */
  constructor(open) {
    this.open = open;
    this.canvas = $("map");
    this.zoom = 1;
    this.x = 0; // centre, in map units
    this.y = 0;
    this.data = null;
    this.hits = new Float32Array(0);
    this.lands = null;
    this.frames = []; // times of the latest frames, for whoever measures
    this.asked = false;
    this.points = new Points(this.canvas);
    this.width = this.height = 0; // of the element, in its own pixels
    this.listen();
    new ResizeObserver(([{ contentRect }]) => {
      this.width = contentRect.width;
      this.height = contentRect.height;
      this.draw();
    }).observe(this.canvas);
  }

  async load(library) {
    this.library = library;
    this.data = await api.map(library);
    if (this.library !== library) return;
    this.points.load(this.data.points);
    this.index();
    this.thumbs?.clear();
    const how = matchMedia("(hover: none)").matches ? "Drag to move, pinch to zoom." : "Drag to move, scroll to zoom; arrow keys and + − work too.";
    const [count, total] = [this.data.count, this.data.total].map((one) => one.toLocaleString());
    const images = count === total ? `${count} images` : `${count} of ${total} images, by chance`;
    $("map-help").textContent = `${images}; like lies near like. ${how}`;
    this.canvas.setAttribute("aria-label", `Map of ${images}, like near like`);
    this.home();
  }

  /** Points by cell, in one array, so that what is near can be found among 100,000. */
  index() {
    const { points, count } = this.data;
    const cellOf = new Uint16Array(count);
    this.starts = new Uint32Array(CELLS * CELLS + 1);
    for (let i = 0; i < count; i++) {
      cellOf[i] = cell(points[3 * i]) + CELLS * cell(points[3 * i + 1]);
      this.starts[cellOf[i] + 1]++;
    }
    for (let c = 0; c < CELLS * CELLS; c++) this.starts[c + 1] += this.starts[c];
    const next = this.starts.slice();
    this.order = new Uint32Array(count);
    for (let i = 0; i < count; i++) this.order[next[cellOf[i]]++] = i;
  }

  /** Mark hits and the place where the query lands. */
  mark(hits, lands) {
    const placed = hits.filter((hit) => hit.x !== null && hit.x !== undefined);
    this.hits = new Float32Array(placed.flatMap((hit) => [hit.x, hit.y, 0]));
    this.hitIds = placed.map((hit) => hit.id);
    this.lands = lands;
    $("map-query").hidden = !lands;
    this.draw();
  }

  home() { this.fly(0, 0, 0.94); }
  toQuery() { if (this.lands) this.fly(this.lands[0], this.lands[1], 5); }

  fly(x, y, zoom) {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches || !this.data) return this.look(x, y, zoom);
    const from = [this.x, this.y, Math.log(this.zoom)], to = [x, y, Math.log(zoom)], start = performance.now();
    const flight = (this.flight = {});
    const step = (now) => {
      if (this.flight !== flight) return;
      const t = Math.min(1, (now - start) / 420), ease = 1 - (1 - t) ** 3;
      const [px, py, pz] = from.map((value, i) => value + (to[i] - value) * ease);
      this.look(px, py, Math.exp(pz));
      if (t < 1) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  look(x, y, zoom) {
    this.x = Math.max(-1.2, Math.min(1.2, x));
    this.y = Math.max(-1.2, Math.min(1.2, y));
    this.zoom = Math.max(0.5, Math.min(400, zoom));
    this.draw();
  }

  /** Map units to pixels of the element, and back. */
  get unit() { return (Math.min(this.width, this.height) / 2) * this.zoom; }
  toPixels(x, y) { return [this.width / 2 + (x - this.x) * this.unit, this.height / 2 - (y - this.y) * this.unit]; }
  toMap(px, py) { return [this.x + (px - this.width / 2) / this.unit, this.y - (py - this.height / 2) / this.unit]; }

  draw() {
    if (this.asked || !this.data) return;
    this.asked = true;
    requestAnimationFrame((now) => { this.asked = false; this.paint(now); });
  }

  paint(now) {
    this.frames.push(now);
    if (this.frames.length > 240) this.frames.shift();
    const ratio = window.devicePixelRatio || 1, { points } = this;
    const width = Math.round(this.width * ratio), height = Math.round(this.height * ratio);
    if (!width || !height) return;
    const style = getComputedStyle(this.canvas), ground = style.backgroundColor.match(/\d+/g).slice(0, 3).map(Number);
    const dark = Math.max(...ground) < 128;
    points.fit(width, height, LARGEST * ratio);
    points.tint(ground, dark);
    const size = Math.max(2.4, Math.min(LARGEST, (200 * Math.sqrt(this.zoom)) / Math.sqrt(this.data.count + 300) + 1.8));
    points.draw(this.x, this.y, this.unit * ratio, size * ratio);
    const ring = (x, y, across, colour, wide) => {
      const [px, py] = this.toPixels(x, y);
      points.ring(px * ratio, py * ratio, across * ratio, colour, wide * ratio);
    };
    const across = Math.max(13, size * 1.9), hit = dark ? "#ffb866" : "#c7521a";
    for (let at = 0; at < this.hits.length; at += 3) ring(this.hits[at], this.hits[at + 1], across, hit, across / 5);
    if (this.lands) {
      const colour = dark ? "#fff" : "#1a1f21";
      ring(...this.lands, 40, colour, 3);
      ring(...this.lands, 9, colour, 0);
    }
    this.images();
  }

  /** Indices of points in a rectangle of the map, at most `most`; null when there are more. */
  within(left, bottom, right, top, most) {
    const found = [];
    for (let row = cell(bottom); row <= cell(top); row++) {
      for (let column = cell(left); column <= cell(right); column++) {
        const c = column + CELLS * row;
        for (let at = this.starts[c]; at < this.starts[c + 1]; at++) {
          const i = this.order[at], x = this.data.points[3 * i], y = this.data.points[3 * i + 1];
          if (x < left || x > right || y < bottom || y > top) continue;
          if (found.push(i) > most) return null;
        }
      }
    }
    return found;
  }

  /** When few enough points are in sight, they show their images; crowded ones stay points. */
  images() {
    this.thumbs ??= new Map();
    const layer = $("map-images");
    const [left, top] = this.toMap(0, 0), [right, bottom] = this.toMap(this.width, this.height);
    const seen = this.within(left, bottom, right, top, 600) ?? [];
    const placed = [];
    for (const i of seen) {
      const [px, py] = this.toPixels(this.data.points[3 * i], this.data.points[3 * i + 1]);
      if (placed.length >= MOST_IMAGES) break;
      if (placed.every((other) => Math.abs(other[1] - px) > GAP || Math.abs(other[2] - py) > GAP)) placed.push([i, px, py]);
    }
    const wanted = seen.length <= 600 && seen.length > 0 && (this.zoom > 1.5 || this.data.count < 40) ? placed : [];
    const keep = new Set(wanted.map(([i]) => i));
    for (const [i, image] of this.thumbs) if (!keep.has(i)) { image.remove(); this.thumbs.delete(i); }
    for (const [i, px, py] of wanted) {
      let image = this.thumbs.get(i);
      if (!image) {
        image = h("img", { src: api.thumbnail(this.library, this.id(i)), alt: "", loading: "lazy" });
        this.thumbs.set(i, image);
        layer.append(image);
      }
      image.style.transform = `translate(${px}px, ${py}px)`;
    }
  }

  id(i) { return Array.from(this.data.ids.subarray(8 * i, 8 * i + 8), (byte) => byte.toString(16).padStart(2, "0")).join(""); }

  /** The point nearest to a place in pixels, within reach, or -1. */
  near(px, py, reach = 18) {
    if (!this.data) return -1;
    const [left, top] = this.toMap(px - reach, py - reach), [right, bottom] = this.toMap(px + reach, py + reach);
    let best = -1, least = reach * reach;
    for (const i of this.within(left, bottom, right, top, Infinity)) {
      const [x, y] = this.toPixels(this.data.points[3 * i], this.data.points[3 * i + 1]);
      const far = (x - px) ** 2 + (y - py) ** 2;
      if (far < least) { least = far; best = i; }
    }
    return best;
  }

  zoomAt(px, py, factor) {
    const [x, y] = this.toMap(px, py);
    const zoom = Math.max(0.5, Math.min(400, this.zoom * factor)), real = zoom / this.zoom;
    this.flight = null;
    this.look(x + (this.x - x) / real, y + (this.y - y) / real, zoom);
  }

  listen() {
    const { canvas } = this, down = new Map();
    let moved = 0;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomAt(event.offsetX, event.offsetY, Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016)));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); down.set(event.pointerId, [event.offsetX, event.offsetY]); moved = 0; this.flight = null; });
    canvas.addEventListener("pointermove", (event) => {
      const now = [event.offsetX, event.offsetY], before = down.get(event.pointerId);
      if (!before) return this.hover(...now);
      moved += Math.abs(now[0] - before[0]) + Math.abs(now[1] - before[1]);
      if (down.size === 2) {
        const [other] = [...down].filter(([pointer]) => pointer !== event.pointerId).map(([, place]) => place);
        const far = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
        this.zoomAt((now[0] + other[0]) / 2, (now[1] + other[1]) / 2, far(now, other) / Math.max(1, far(before, other)));
      } else {
        this.look(this.x - (now[0] - before[0]) / this.unit, this.y + (now[1] - before[1]) / this.unit, this.zoom);
      }
      down.set(event.pointerId, now);
      $("map-card").hidden = true;
    });
    const up = (event) => {
      const place = down.get(event.pointerId);
      down.delete(event.pointerId);
      if (!place || moved > 6 || event.type === "pointercancel") return;
      const i = this.near(...place, 34);
      if (i >= 0) this.open(this.id(i));
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => { $("map-card").hidden = true; });
    canvas.addEventListener("keydown", (event) => {
      const step = 60 / this.unit;
      const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
      if (event.key in moves) this.look(this.x + moves[event.key][0], this.y + moves[event.key][1], this.zoom);
      else if (event.key === "+" || event.key === "=") this.step(1.4);
      else if (event.key === "-") this.step(1 / 1.4);
      else if (event.key === "Home") this.home();
      else if (event.key === "Enter") { const i = this.near(this.width / 2, this.height / 2, 200); if (i >= 0) this.open(this.id(i)); }
      else return;
      event.preventDefault();
    });
    $("map-in").addEventListener("click", () => this.step(1.6));
    $("map-out").addEventListener("click", () => this.step(1 / 1.6));
    $("map-home").addEventListener("click", () => this.home());
    $("map-query").addEventListener("click", () => this.toQuery());
  }

  step(factor) { this.fly(this.x, this.y, this.zoom * factor); }

  hover(px, py) {
    const i = this.near(px, py), card = $("map-card");
    if (i < 0) { card.hidden = true; this.hovered = -1; return; }
    if (i !== this.hovered) {
      this.hovered = i;
      card.replaceChildren(h("img", { src: api.thumbnail(this.library, this.id(i)), alt: "" }));
    }
    card.hidden = false;
    const x = Math.min(px + 16, this.width - 186), y = Math.min(py + 16, this.height - 190);
    card.style.transform = `translate(${Math.max(4, x)}px, ${Math.max(4, y)}px)`;
  }
}

const cell = (value) => Math.max(0, Math.min(CELLS - 1, Math.floor(((value + 1) / 2) * CELLS)));
