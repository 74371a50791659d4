// Regions painted on the photograph: which painting paints what, and what stays as it is.
// Strokes are kept as lists of points; layers are drawn from them anew, so undo is to leave the last one out.

import { announce, make, newId } from "./dom.js";

const KEEP = 0;
const ERASE = -1;
const LONG = 1024; // pixels of a mask's long side; it is resampled to every size of the painting
const CORE = 0.55; // share of the brush that is fully covered; it fades out from there
const TINTS = ["#3fcf6a", "#e0592a", "#2a7de0", "#b04fd0", "#d0a020", "#20b0b0", "#d04f8a", "#7a6cf0"];

export const tint = (number) => TINTS[number % TINTS.length];

/** Layers of coverage, one for what is kept and one for each painting. */
class Layers {
  constructor(width, height, numStyles) {
    const scale = LONG / Math.max(width, height);
    this.width = Math.max(Math.round(width * scale), 1);
    this.height = Math.max(Math.round(height * scale), 1);
    this.canvases = Array.from({ length: numStyles + 1 }, () => {
      const canvas = make("canvas", { width: this.width, height: this.height });
      canvas.getContext("2d", { willReadFrequently: true });
      return canvas;
    });
    this.stamps = new Map();
  }

  clear() {
    for (const canvas of this.canvases) canvas.getContext("2d").clearRect(0, 0, this.width, this.height);
  }

  /** A soft round spot. */
  #stamp(radius, colour) {
    const key = `${radius} ${colour}`;
    if (!this.stamps.has(key)) {
      const side = Math.ceil(radius) * 2 + 2;
      const canvas = make("canvas", { width: side, height: side });
      const paint = canvas.getContext("2d");
      const fade = paint.createRadialGradient(side / 2, side / 2, radius * CORE, side / 2, side / 2, radius);
      fade.addColorStop(0, colour);
      fade.addColorStop(1, `${colour}00`);
      paint.fillStyle = fade;
      paint.fillRect(0, 0, side, side);
      this.stamps.set(key, canvas);
    }
    return this.stamps.get(key);
  }

  /** Cover with one layer, and uncover in all others: coverages never add up to more than all. */
  dab(number, x, y, radius) {
    this.canvases.forEach((canvas, layer) => {
      const paint = canvas.getContext("2d");
      const spot = this.#stamp(radius, tint(layer));
      paint.globalCompositeOperation = layer === number ? "source-over" : "destination-out";
      paint.drawImage(spot, x - spot.width / 2, y - spot.height / 2);
    });
  }

  line({ number, radius }, from, to) {
    const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
    const count = Math.max(Math.ceil(length / Math.max(radius / 4, 1)), 1);
    for (let i = 1; i <= count; i++) {
      this.dab(number, from[0] + ((to[0] - from[0]) * i) / count, from[1] + ((to[1] - from[1]) * i) / count, radius);
    }
  }

  replay(strokes) {
    this.clear();
    for (const stroke of strokes) {
      const [first, ...rest] = stroke.points;
      this.dab(stroke.number, ...first, stroke.radius);
      let last = first;
      for (const point of rest) {
        this.line(stroke, last, point);
        last = point;
      }
    }
  }

  /** Coverage of a layer, 0 to 255 for each pixel. */
  coverage(number) {
    const { data } = this.canvases[number].getContext("2d").getImageData(0, 0, this.width, this.height);
    return Uint8ClampedArray.from({ length: this.width * this.height }, (_, i) => data[4 * i + 3]);
  }
}

/** A grey PNG, white where the region is. */
function toPng(coverage, width, height) {
  const canvas = make("canvas", { width, height });
  const image = new ImageData(width, height);
  coverage.forEach((value, i) => image.data.set([value, value, value, 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/**
 * Masks as pictures.
 *
 * @param {object} regions strokes, and what is done with the rest: "keep", "all" or a style's number.
 * @returns {Promise<{blob: Blob, style: number|number[]}[]>} none if nothing was painted.
 */
export async function toMasks(regions, width, height, numStyles) {
  if (!regions?.strokes.length) return [];
  const layers = new Layers(width, height, numStyles);
  layers.replay(regions.strokes);
  const parts = layers.canvases.map((_, number) => layers.coverage(number));
  const masks = [];
  const add = async (coverage, style) => {
    if (coverage.some((value) => value > 2)) {
      masks.push({ blob: await toPng(coverage, layers.width, layers.height), style });
    }
  };
  for (let number = 1; number <= numStyles; number++) await add(parts[number], number);
  if (regions.rest !== "keep") {
    const rest = Uint8ClampedArray.from(parts[0], (_, i) => 255 - parts.reduce((sum, part) => sum + part[i], 0));
    const all = Array.from({ length: numStyles }, (_, i) => i + 1);
    const style = regions.rest === "all" ? (numStyles === 1 ? 1 : all) : Number(regions.rest);
    await add(rest, style);
  }
  return masks;
}

/**
 * Paint regions on the photograph.
 *
 * @param {object} photograph preview, width, height, name.
 * @param {string[]} names of the paintings.
 * @param {object|null} before regions to go on with.
 * @returns {Promise<object|null|undefined>} strokes and rest; null for none; undefined if nothing changes.
 */
export async function paintRegions(photograph, names, before) {
  const picture = make("img", { src: photograph.preview, alt: "" });
  await picture.decode();
  return new Promise((resolve) => new Editor(photograph, picture, names, before, resolve));
}

class Editor {
  constructor(photograph, picture, names, before, resolve) {
    this.picture = picture;
    this.names = names;
    this.layers = new Layers(photograph.width, photograph.height, names.length);
    this.strokes = structuredClone(before?.strokes ?? []);
    this.number = names.length > 1 ? 1 : KEEP;
    this.at = [this.layers.width / 2, this.layers.height / 2];
    this.result = undefined;
    this.dialog = this.#dialog(before?.rest ?? "all");
    document.body.append(this.dialog);
    this.dialog.addEventListener("close", () => {
      this.dialog.remove();
      resolve(this.result);
    });
    this.dialog.showModal();
    this.#redo();
    this.canvas.focus();
  }

  #dialog(rest) {
    const { width, height } = this.layers;
    this.canvas = make("canvas", {
      width,
      height,
      tabIndex: 0,
      role: "application",
      "aria-label":
        "Photograph to paint regions on. Arrow keys move the brush, space paints, brackets change its size, Z takes a stroke back.",
      on: {
        pointerdown: (event) => this.#down(event),
        pointermove: (event) => this.#move(event),
        pointerup: () => this.#up(),
        pointercancel: () => this.#up(),
        pointerleave: () => this.#hover(null),
        keydown: (event) => this.#key(event),
      },
    });
    this.brush = make("input", {
      type: "range",
      id: newId("brush"),
      min: 6,
      max: 240,
      step: 1,
      value: 60,
      on: { input: () => this.#draw() },
    });
    const restId = newId("rest");
    this.rest = make(
      "select",
      { id: restId },
      new Option(this.names.length > 1 ? "all paintings together" : "the painting", "all"),
      ...(this.names.length > 1 ? this.names.map((name, i) => new Option(`${i + 1}. ${name}`, i + 1)) : []),
      new Option("nobody: it stays a photograph", "keep"),
    );
    this.rest.value = String(rest);
    this.undoButton = button("Undo", () => this.#undo());
    return make(
      "dialog.regions",
      { "aria-labelledby": "regions-title" },
      make("h2", { id: "regions-title", textContent: "Regions" }),
      make("div.tools", {}, this.#tools(), make("label.brush", { htmlFor: this.brush.id }, "Brush", this.brush)),
      make("div.easel", {}, this.canvas),
      make(
        "div.tools.last",
        {},
        make("label", { htmlFor: restId }, "Everything else is painted by ", this.rest),
        make("span.push"),
        this.undoButton,
        button("Clear", () => this.#clear()),
        button("Cancel", () => this.dialog.close()),
        button("Done", () => this.#done(), "main"),
      ),
    );
  }

  #tools() {
    const name = newId("tool");
    const tools = this.names.map((text, i) => [i + 1, this.names.length > 1 ? `${i + 1}. ${text}` : text]);
    tools.push([KEEP, "Keep the photograph"], [ERASE, "Erase"]);
    return make(
      "fieldset.swatches",
      {},
      make("legend.unseen", { textContent: "What the brush says" }),
      ...tools.map(([number, text]) => {
        const swatch = make("i");
        swatch.style.background = number === ERASE ? "transparent" : tint(number);
        const input = make("input", {
          type: "radio",
          name,
          value: number,
          checked: number === this.number,
          on: { change: () => (this.number = number) },
        });
        return make("label", {}, input, swatch, make("span", { textContent: text }));
      }),
    );
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * this.canvas.width,
      ((event.clientY - box.top) / box.height) * this.canvas.height,
    ].map((value) => Math.round(value * 10) / 10);
  }

  #down(event) {
    if (event.button) return;
    event.preventDefault();
    this.canvas.focus();
    this.canvas.setPointerCapture(event.pointerId);
    this.#begin(this.#place(event));
  }

  #begin(point) {
    this.stroke = { number: this.number, radius: Number(this.brush.value) / 2, points: [point] };
    this.strokes.push(this.stroke);
    this.layers.dab(this.number, ...point, this.stroke.radius);
    this.#hover(point);
  }

  #move(event) {
    const point = this.#place(event);
    if (this.stroke) {
      const last = this.stroke.points.at(-1);
      if (Math.hypot(point[0] - last[0], point[1] - last[1]) < 1) return;
      this.stroke.points.push(point);
      this.layers.line(this.stroke, last, point);
    }
    this.#hover(point);
  }

  #up() {
    this.stroke = null;
    this.undoButton.disabled = !this.strokes.length;
  }

  #hover(point) {
    this.pointer = point;
    if (point) this.at = point;
    this.#draw();
  }

  #key(event) {
    const step = event.shiftKey ? 8 : 24;
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (move) {
      const { width, height } = this.canvas;
      this.#hover([Math.min(Math.max(this.at[0] + move[0], 0), width), Math.min(Math.max(this.at[1] + move[1], 0), height)]);
    } else if (event.key === " " || event.key === "Enter") {
      this.#begin([...this.at]);
      this.#up();
      announce("Painted.");
    } else if (event.key === "[" || event.key === "]") {
      this.brush.value = Number(this.brush.value) * (event.key === "[" ? 0.8 : 1.25);
      this.#draw();
    } else if (event.key.toLowerCase() === "z") this.#undo();
    else return;
    event.preventDefault();
  }

  #undo() {
    this.strokes.pop();
    this.#redo();
  }

  #clear() {
    this.strokes = [];
    this.#redo();
  }

  #redo() {
    this.layers.replay(this.strokes);
    this.#up();
    this.#draw();
  }

  #draw() {
    const paint = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    paint.globalAlpha = 1;
    paint.drawImage(this.picture, 0, 0, width, height);
    paint.globalAlpha = 0.6;
    for (const canvas of this.layers.canvases) paint.drawImage(canvas, 0, 0);
    paint.globalAlpha = 1;
    if (!this.pointer) return;
    const shown = width / (this.canvas.clientWidth || width);
    for (const [colour, wide] of [["#000", 3], ["#fff", 1.5]]) {
      paint.strokeStyle = colour;
      paint.lineWidth = wide * shown;
      paint.beginPath();
      paint.arc(...this.pointer, Number(this.brush.value) / 2, 0, 2 * Math.PI);
      paint.stroke();
    }
  }

  #done() {
    const rest = this.rest.value;
    this.result = this.strokes.length ? { strokes: this.strokes, rest, numStyles: this.names.length } : null;
    this.dialog.close();
  }
}

const button = (text, act, kind = "") =>
  make("button", { type: "button", textContent: text, className: kind, on: { click: act } });
