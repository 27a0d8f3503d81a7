// Points painted by hand into the pixels of a canvas: quick enough for 100,000 of them on any machine. WebGL, where a
// GPU is missing, took a hundred times as long for as many (benchmarks/serve_page.py measures this one).

const SHADES = 256;
const PHASES = 4; // places within a pixel, along each axis, at which a point can lie
const OPACITY = 0.78;

/** The colour of a shade in [0, 1], as red, green and blue of 0 to 255. */
function palette(t, dark) {
  return [[0.52, 0.34, 0.02], [0.52, 0.22, 0.36], [0.5, 0.3, 0.62]].map(([middle, swing, start]) => {
    const own = middle + swing * Math.cos(2 * Math.PI * (start + t * 0.82));
    return Math.round(255 * Math.min(1, Math.max(0, own * (dark ? 1.18 : 0.86))));
  });
}

const packed = (red, green, blue) => (255 << 24) | (blue << 16) | (green << 8) | red;

const reach = (size) => Math.ceil(size / 2 + 1); // pixels of a point to each side of its own

export class Points {
  /** The points, as x, y and shade of each; they stay the caller's. */
  constructor(canvas) {
    this.pen = canvas.getContext("2d", { alpha: false });
    this.values = new Float32Array(0);
    this.stamped = null; // the size and width for which the stamps were made
  }

  load(values) { this.values = values; }

  /** Colours for what lies behind, [red, green, blue], and whether that is dark. */
  tint(ground, dark) {
    const key = `${ground} ${dark}`;
    if (key === this.tinted) return;
    this.tinted = key;
    this.ground = packed(...ground);
    this.shades = Int32Array.from({ length: SHADES }, (_, at) => packed(...palette(at / (SHADES - 1), dark)));
  }

  /** Room for so many pixels, and around them for points of `most` pixels that lie half outside. */
  fit(width, height, most) {
    const margin = 2 * reach(most), wide = width + 2 * margin, high = height + 2 * margin;
    if (this.image?.width === wide && this.image.height === high && this.margin === margin) return;
    Object.assign(this.pen.canvas, { width, height });
    this.margin = margin;
    this.image = this.pen.createImageData(wide, high);
    this.pixels = new Int32Array(this.image.data.buffer);
    this.stamped = null;
  }

  /** A round point of a diameter, with soft edges, for each place within a pixel: offsets and opacities of 0 to 256. */
  stamps(size) {
    if (this.stamped === size) return;
    this.stamped = size;
    const radius = size / 2, edge = reach(size), offsets = [], alphas = [];
    this.starts = [0];
    for (let phase = 0; phase < PHASES * PHASES; phase++) {
      const x = ((phase % PHASES) + 0.5) / PHASES, y = (Math.floor(phase / PHASES) + 0.5) / PHASES;
      for (let row = -edge; row <= edge; row++) {
        for (let column = -edge; column <= edge; column++) {
          const far = Math.hypot(column + 0.5 - x, row + 0.5 - y);
          const alpha = Math.round(256 * OPACITY * Math.min(1, Math.max(0, radius + 0.5 - far)));
          if (alpha < 6) continue;
          offsets.push(row * this.image.width + column);
          alphas.push(alpha);
        }
      }
      this.starts.push(offsets.length);
    }
    this.offsets = Int32Array.from(offsets);
    this.alphas = Int32Array.from(alphas);
  }

  /** All points of a size: map units times `unit` pixels, the map's (x, y) in the middle. All in pixels of the canvas. */
  draw(x, y, unit, size) {
    const rounded = Math.round(size * 4) / 4;
    this.stamps(rounded);
    const { pixels, values, shades, offsets, alphas, starts, margin } = this;
    const { width: wide, height: high } = this.image, edge = reach(rounded);
    const left = wide / 2 - x * unit, top = high / 2 + y * unit, right = wide - edge, bottom = high - edge;
    pixels.fill(this.ground);
    for (let at = 0; at < values.length; at += 3) {
      const px = left + values[at] * unit, py = top - values[at + 1] * unit;
      if (!(px >= edge && py >= edge && px < right && py < bottom)) continue;
      const column = px | 0, row = py | 0;
      const phase = (((py - row) * PHASES) | 0) * PHASES + (((px - column) * PHASES) | 0);
      const place = row * wide + column, colour = shades[(values[at + 2] * (SHADES - 1)) | 0];
      const redBlue = colour & 0xff00ff, green = (colour >> 8) & 0xff;
      for (let one = starts[phase]; one < starts[phase + 1]; one++) {
        const alpha = alphas[one], rest = 256 - alpha, target = place + offsets[one], there = pixels[target];
        const mixed = ((Math.imul(redBlue, alpha) + Math.imul(there & 0xff00ff, rest)) >>> 8) & 0xff00ff;
        const mixedGreen = (Math.imul(green, alpha) + Math.imul((there >> 8) & 0xff, rest)) & 0xff00;
        pixels[target] = 0xff000000 | mixed | mixedGreen;
      }
    }
    this.pen.putImageData(this.image, -margin, -margin);
  }

  /** A ring around a place in pixels, or a disc when it has no width. */
  ring(px, py, size, colour, width) {
    const { pen } = this;
    pen.beginPath();
    pen.arc(px, py, width ? (size - width) / 2 : size / 2, 0, 2 * Math.PI);
    if (width) { pen.lineWidth = width; pen.strokeStyle = colour; pen.stroke(); } else { pen.fillStyle = colour; pen.fill(); }
  }
}
