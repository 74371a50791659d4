// The finished painting at any scale; where tiles are not there, the photograph behind a curtain.

import { closeupFigures } from "./closeup.js";
import { make, newId } from "./dom.js";

export class Look {
  #key; // of what is shown; not even nothing is at first
  #zoom = null;
  #turn = 0;

  constructor(place, runs) {
    this.place = place;
    this.runs = runs;
    runs.addEventListener("run", () => this.show());
    this.show();
  }

  show() {
    const { run } = this.runs;
    const key = run && (run.picture ? `${run.id} ${run.state} ${run.picture.width}` : `${run.id} ${run.state} ${run.preview}`);
    if (key === this.#key) return;
    this.#key = key;
    this.#zoom?.destroy();
    this.#zoom = null;
    const turn = ++this.#turn;
    if (run?.picture) void this.#open(run, turn);
    else if (run?.preview && run.content_preview && run.state !== "running") this.place.replaceChildren(curtain(run));
    else {
      const words = run ? "As soon as it is finished you can walk up to it here." : "There is nothing to look at yet.";
      this.place.replaceChildren(make("p.nothing", { textContent: words }));
    }
  }

  async #open(run, turn) {
    const element = make("div", { id: "zoom" });
    const { key, width, height } = run.picture;
    try {
      const { openZoom } = await import("./zoom.js");
      if (turn !== this.#turn) return;
      this.place.replaceChildren(element);
      const zoom = await openZoom(element, { dzi: `/zoom/${key}.dzi`, width, height, dpi: run.dpi, before: run.content_preview });
      if (turn !== this.#turn) zoom.destroy();
      else if (zoom.viewer) {
        this.#zoom = zoom;
        if (run.closeup) this.place.append(beside(run.closeup, zoom));
      }
      else if (run.content_preview) this.place.append(curtain(run));
    } catch {
      if (turn === this.#turn && run.content_preview) this.place.replaceChildren(curtain(run));
    }
  }
}

/** The close-up that was painted before, and the same place of the painting. */
function beside(closeup, zoom) {
  const [y, x] = closeup.spot;
  const show = make("button", { type: "button", id: "closeup-place", textContent: "Show this place at 1:1", on: { click: () => zoom.showAt(x, y) } });
  return make("div.beside", {}, make("h3", { textContent: "The close-up from before" }), closeupFigures(closeup), make("div.buttons", {}, show));
}

/** Photograph to the left of a slider, painting to the right. */
function curtain(run) {
  const before = make("img.before", { src: run.content_preview, alt: "Photograph" });
  const id = newId("curtain");
  const input = make("input", {
    id,
    type: "range",
    min: 0,
    max: 100,
    value: 50,
    "aria-label": "Where the photograph ends and the painting begins",
    on: { input: () => move() },
  });
  const line = make("i.curtain-line");
  const move = () => {
    before.style.clipPath = `inset(0 ${100 - input.value}% 0 0)`;
    line.style.left = `${input.value}%`;
    input.setAttribute("aria-valuetext", `${input.value}% photograph`);
  };
  move();
  return make("div.curtain", {}, make("img", { src: run.preview, alt: `Painting ${run.name}` }), before, line, input);
}
