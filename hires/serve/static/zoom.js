// Deep zoom: a painting of any size, its ruler, its size on paper, and the photograph behind a curtain.

const MM_PER_INCH = 25.4;
const CARD_MM = 85.6; // ISO/IEC 7810 ID-1: bank cards, by which a screen is measured
const PPI_KEY = "hires.screen-ppi";
const MOST_ZOOM = 16; // device pixels for a pixel of the picture
const RULER = 22; // CSS pixels
let loading = null;

/**
 * Show a picture in an element.
 *
 * @param {HTMLElement} element a block with a height of its own; emptied.
 * @param {object} picture
 * @param {string} picture.dzi address of its descriptor.
 * @param {number} picture.width in pixels.
 * @param {number} picture.height in pixels.
 * @param {number|null} [picture.dpi] pixels per inch; without them the ruler tells pixels.
 * @param {string|null} [picture.before] address of the photograph, a picture or a descriptor. It is
 *     laid on the painting's frame, cut to its shape about the middle as a paper cuts it.
 * @returns {Promise<{viewer: object, destroy: () => void}>}
 */
export async function openZoom(element, picture) {
  element.replaceChildren();
  element.classList.add("zoom");
  try {
    await loadViewer();
  } catch {
    say(element, "The viewer is not installed: python -m hires.serve.vendor fetches it.");
    return { viewer: null, destroy: () => element.replaceChildren() };
  }
  return new Zoom(element, picture);
}

function loadViewer() {
  if (globalThis.OpenSeadragon) return Promise.resolve();
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("vendor/openseadragon.min.js", import.meta.url).href;
    script.onload = resolve;
    script.onerror = () => {
      loading = null;
      script.remove();
      reject(new Error("no viewer"));
    };
    document.head.append(script);
  });
  return loading;
}

function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made && name !== "role") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function say(element, text) {
  element.querySelector(".zoom-message")?.remove();
  element.append(make("p", { className: "zoom-message", role: "alert", textContent: text }));
}

/** Steps of 1, 2 and 5 that are at least so large. */
export function tickStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((one) => one * power).find((step) => step >= least * (1 - 1e-9));
}

/** CSS pixels for a pixel of the picture, where a millimetre of paper is one on the screen. */
export function printZoom(dpi, ppi, ratio) {
  return ppi / ratio / dpi;
}

export function screenPpi() {
  const told = Number(localStorage.getItem(PPI_KEY));
  return told >= 30 && told <= 1500 ? told : 96 * devicePixelRatio;
}

class Zoom {
  constructor(element, picture) {
    this.element = element;
    this.picture = picture;
    this.split = 0.5;
    this.stop = new AbortController();
    this.stage = make("div", { className: "zoom-stage" });
    this.top = make("canvas", { className: "zoom-ruler", "aria-hidden": "true" });
    this.left = make("canvas", { className: "zoom-ruler zoom-ruler-left", "aria-hidden": "true" });
    this.state = make("output", { className: "zoom-state" });
    this.view = make("div", { className: "zoom-view" }, this.stage); // beside the rulers
    this.frame = make("div", { className: "zoom-frame zoom-ruled" }, this.view, this.top, this.left);
    element.append(this.toolbar(), this.frame);
    this.viewer = OpenSeadragon({
      element: this.stage,
      tileSources: picture.dzi,
      drawer: "canvas",
      showNavigationControl: false,
      showNavigator: true,
      navigatorPosition: "BOTTOM_RIGHT",
      navigatorSizeRatio: 0.15,
      maxZoomPixelRatio: MOST_ZOOM / devicePixelRatio,
      visibilityRatio: 0.5,
      animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.5,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
      // What is being made is answered late, or with 503.
      timeout: 60000,
      tileRetryMax: 30,
      tileRetryDelay: 1000,
    });
    this.viewer.addHandler("open", () => this.opened());
    this.viewer.addHandler("open-failed", () => say(element, "The picture cannot be shown."));
    for (const event of ["update-viewport", "resize"]) this.viewer.addHandler(event, () => this.update());
    this.viewer.addHandler("zoom", () => this.smooth());
    // Its own r and f turn and mirror the picture, which no print does.
    this.viewer.addHandler("canvas-key", (event) => {
      if ("rRfF".includes(event.originalEvent.key)) event.preventDefaultAction = true;
    });
    this.viewer.canvas.setAttribute("role", "application");
    this.viewer.canvas.setAttribute(
      "aria-label",
      "Painting. Arrow keys move, plus and minus zoom, 0 shows all, 1 shows pixel for pixel.",
    );
    element.addEventListener("keydown", (event) => this.key(event), { signal: this.stop.signal });
  }

  destroy() {
    this.stop.abort();
    this.viewer.destroy();
    this.element.replaceChildren();
  }

  toolbar() {
    const { dpi, before } = this.picture;
    this.buttons = {};
    const button = (name, text, title, act) => {
      const made = make("button", { type: "button", textContent: text, title, onclick: act });
      made.setAttribute("aria-label", title);
      this.buttons[name] = made;
      return made;
    };
    const bar = make(
      "div",
      { className: "zoom-bar", role: "toolbar", "aria-label": "View" },
      button("out", "−", "Zoom out (-)", () => this.zoomBy(1 / 1.5)),
      button("in", "+", "Zoom in (+)", () => this.zoomBy(1.5)),
      button("fit", "Fit", "Show all of it (0)", () => this.viewer.viewport.goHome()),
      button("full", "1:1", "Pixel for pixel (1)", () => this.zoomTo(1 / devicePixelRatio)),
    );
    if (dpi) {
      bar.append(
        button("print", "Print size", "As large as on paper, on this screen (p)", () => this.printSize()),
        button("screen", "Screen…", "Tell how fine this screen is", () => this.calibrate()),
      );
    }
    bar.append(button("ruler", "Ruler", "Ruler (r)", () => this.toggleRuler()));
    this.buttons.ruler.setAttribute("aria-pressed", "true");
    if (before) {
      bar.append(button("compare", "Photograph", "Compare to the photograph (c)", () => this.toggleCurtain()));
      this.buttons.compare.setAttribute("aria-pressed", "false");
    }
    bar.append(this.state);
    return bar;
  }

  opened() {
    this.smooth();
    this.update();
    this.element.dataset.open = "true";
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, dialog")) return;
    const act = {
      1: () => this.zoomTo(1 / devicePixelRatio),
      p: () => this.picture.dpi && this.printSize(),
      r: () => this.toggleRuler(),
      c: () => this.picture.before && this.toggleCurtain(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  zoomBy(factor) {
    this.viewer.viewport.zoomBy(factor);
    this.viewer.viewport.applyConstraints();
  }

  /** @param {number} zoom CSS pixels for a pixel of the picture. */
  zoomTo(zoom) {
    const { viewport } = this.viewer;
    const wanted = this.viewer.world.getItemAt(0).imageToViewportZoom(zoom);
    // Small pictures are smaller so than all of it is in the window.
    viewport.minZoomLevel = Math.min(wanted, 0.9 * viewport.getHomeZoom());
    viewport.zoomTo(wanted);
    viewport.applyConstraints();
  }

  /** Pixel for pixel about a place, in shares of width and height. */
  showAt(x, y) {
    const { viewport, world } = this.viewer;
    const { Point } = OpenSeadragon;
    this.zoomTo(1 / devicePixelRatio);
    viewport.panTo(world.getItemAt(0).imageToViewportCoordinates(new Point(x * this.picture.width, y * this.picture.height)));
    viewport.applyConstraints();
    this.element.scrollIntoView({ block: "nearest" });
  }

  /** CSS pixels for a pixel of the picture. */
  zoom(current = true) {
    const item = this.viewer.world.getItemAt(0);
    return item ? item.viewportToImageZoom(this.viewer.viewport.getZoom(current)) : 0;
  }

  printSize() {
    this.zoomTo(printZoom(this.picture.dpi, screenPpi(), devicePixelRatio));
  }

  smooth() {
    // From 1:1 on a pixel is a square: that is what is in the file, and nothing between two of them.
    const isSmooth = this.zoom(false) * devicePixelRatio < 0.999;
    if (isSmooth !== this.isSmooth) {
      this.isSmooth = isSmooth;
      this.viewer.drawer.setImageSmoothingEnabled(isSmooth);
    }
  }

  update() {
    if (!this.viewer.world.getItemCount()) return;
    this.smooth();
    if (this.buttons.ruler.getAttribute("aria-pressed") === "true") this.drawRulers();
    this.drawCurtain();
    const percent = this.zoom() * devicePixelRatio * 100;
    const { width, height, dpi } = this.picture;
    const mm = (pixels) => Math.round((pixels / dpi) * MM_PER_INCH);
    const size = dpi ? `, ${mm(width)} × ${mm(height)} mm at ${Math.round(dpi)} dpi` : "";
    const told = `${percent < 10 ? percent.toFixed(1) : Math.round(percent)}% of ${width} × ${height} px${size}`;
    if (this.state.textContent !== told) this.state.textContent = told;
  }

  toggleRuler() {
    const shown = this.buttons.ruler.getAttribute("aria-pressed") !== "true";
    this.buttons.ruler.setAttribute("aria-pressed", String(shown));
    this.frame.classList.toggle("zoom-ruled", shown);
    this.update();
  }

  drawRulers() {
    const item = this.viewer.world.getItemAt(0);
    const origin = item.imageToViewerElementCoordinates(new OpenSeadragon.Point(0, 0));
    const unit = this.picture.dpi ? this.picture.dpi / MM_PER_INCH : 1; // pixels of the picture
    const scale = this.zoom() * unit; // CSS pixels for a unit
    const { clientWidth: width, clientHeight: height } = this.stage;
    const name = this.picture.dpi ? "mm" : "px";
    const length = { x: this.picture.width / unit, y: this.picture.height / unit };
    ruler(this.top, width, RULER, origin.x, scale, length.x, name, false);
    ruler(this.left, RULER, height, origin.y, scale, length.y, name, true);
  }

  toggleCurtain() {
    const shown = this.buttons.compare.getAttribute("aria-pressed") !== "true";
    this.buttons.compare.setAttribute("aria-pressed", String(shown));
    if (shown && !this.curtain) this.addCurtain();
    this.curtain.hidden = !shown;
    this.photograph?.setOpacity(shown ? 1 : 0);
    if (shown) this.curtain.focus();
    this.update();
  }

  addCurtain() {
    const { before, width, height } = this.picture;
    this.curtain = make("div", { className: "zoom-curtain", role: "slider", tabIndex: 0 });
    for (const [name, value] of Object.entries({
      label: "Where the photograph ends and the painting begins",
      orientation: "horizontal",
      valuemin: 0,
      valuemax: 100,
    })) this.curtain.setAttribute(`aria-${name}`, value);
    this.curtain.append(make("span", { className: "zoom-grip", "aria-hidden": "true", textContent: "⇔" }));
    this.view.append(this.curtain);
    this.curtain.addEventListener("keydown", (event) => this.moveByKey(event));
    this.curtain.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      this.curtain.focus();
      this.curtain.setPointerCapture(event.pointerId);
    });
    this.curtain.addEventListener("pointermove", (event) => {
      if (!this.curtain.hasPointerCapture(event.pointerId)) return;
      const box = this.stage.getBoundingClientRect();
      this.setSplit((event.clientX - box.left) / box.width);
    });
    const source = before.endsWith(".dzi") ? before : { type: "image", url: before };
    this.viewer.addTiledImage({
      tileSource: source,
      success: ({ item }) => {
        const size = item.getContentSize();
        const shape = height / width;
        // As wide as the painting, or wider if it is lower than that.
        const across = Math.max(1, (shape * size.x) / size.y);
        item.setWidth(across, true);
        const place = new OpenSeadragon.Point((1 - across) / 2, (shape - (across * size.y) / size.x) / 2);
        item.setPosition(place, true);
        this.photograph = item;
        this.update();
      },
      error: () => say(this.element, "The photograph cannot be shown."),
    });
    this.setSplit(this.split);
  }

  moveByKey(event) {
    const step = event.shiftKey ? 0.1 : 0.02;
    const to = {
      ArrowLeft: this.split - step,
      ArrowDown: this.split - step,
      ArrowRight: this.split + step,
      ArrowUp: this.split + step,
      PageDown: this.split - 0.1,
      PageUp: this.split + 0.1,
      Home: 0,
      End: 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.setSplit(to);
  }

  setSplit(split) {
    this.split = Math.min(Math.max(split, 0), 1);
    const percent = Math.round(this.split * 100);
    this.curtain.setAttribute("aria-valuenow", percent);
    this.curtain.setAttribute("aria-valuetext", `${percent}% photograph, ${100 - percent}% painting`);
    this.drawCurtain();
  }

  /** The photograph is seen to the left of the curtain, and within the painting's frame. */
  drawCurtain() {
    if (!this.curtain || this.curtain.hidden) return;
    this.curtain.style.left = `${this.split * 100}%`;
    if (!this.photograph) return;
    const { viewport } = this.viewer;
    const { Point, Rect } = OpenSeadragon;
    const x = viewport.viewerElementToViewportCoordinates(new Point(this.split * this.stage.clientWidth, 0)).x;
    const right = Math.min(Math.max(x, 0), 1);
    const corner = this.photograph.viewportToImageCoordinates(new Point(0, 0), true);
    const end = this.photograph.viewportToImageCoordinates(
      new Point(right, this.picture.height / this.picture.width),
      true,
    );
    const clip = new Rect(corner.x, corner.y, end.x - corner.x, end.y - corner.y);
    this.photograph.setOpacity(clip.width > 0 ? 1 : 0);
    if (clip.width > 0 && !(this.clip && this.clip.equals(clip))) {
      this.clip = clip;
      this.photograph.setClip(clip);
    }
  }

  /** Measure the screen by a bank card, or by its own figures. */
  calibrate() {
    const card = make("div", { className: "zoom-card", "aria-hidden": "true", textContent: "bank card" });
    const slide = make("input", { type: "range", min: 60, max: 800, step: 0.5 });
    const number = make("input", { type: "number", min: 30, max: 1500, step: 0.1 });
    slide.setAttribute("aria-label", "Pixels per inch of this screen, by the card");
    const show = (ppi) => {
      card.style.width = `${(CARD_MM / MM_PER_INCH / devicePixelRatio) * ppi}px`;
      slide.value = ppi;
      number.value = Math.round(ppi * 10) / 10;
    };
    slide.oninput = () => show(Number(slide.value));
    number.oninput = () => Number(number.value) && show(Number(number.value));
    const dialog = make(
      "dialog",
      { className: "zoom-screen", "aria-label": "How fine this screen is" },
      make("p", { textContent: "Hold a bank card against the screen and make the frame as wide as it is." }),
      card,
      slide,
      make("label", {}, "Pixels per inch ", number),
      make("form", { method: "dialog" }, make("button", { textContent: "Done" })),
    );
    dialog.addEventListener("close", () => {
      const ppi = Number(number.value);
      if (ppi >= 30 && ppi <= 1500) localStorage.setItem(PPI_KEY, String(ppi));
      dialog.remove();
      this.printSize();
    });
    this.element.append(dialog);
    show(screenPpi());
    dialog.showModal();
  }
}

/** Ticks along one side; canvases are drawn in device pixels so that lines are sharp. */
function ruler(canvas, width, height, origin, scale, length, name, isUpright) {
  const ratio = devicePixelRatio;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const paint = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  paint.setTransform(ratio, 0, 0, ratio, 0, 0);
  paint.clearRect(0, 0, width, height);
  paint.fillStyle = style.backgroundColor;
  paint.fillRect(0, 0, width, height);
  paint.fillStyle = paint.strokeStyle = style.color;
  paint.font = "10px system-ui, sans-serif";
  const step = tickStep(70 / scale);
  const small = step / 10;
  const along = isUpright ? height : width;
  const first = Math.max(Math.ceil(-origin / scale / small), 0);
  const last = Math.min(Math.floor((along - origin) / scale / small), Math.floor(length / small + 1e-6));
  paint.beginPath();
  for (let tick = first; tick <= last; tick++) {
    const at = Math.round((origin + tick * small * scale) * ratio) / ratio + 0.5 / ratio;
    const size = tick % 10 === 0 ? 14 : tick % 5 === 0 ? 8 : 4;
    paint.moveTo(isUpright ? RULER : at, isUpright ? at : RULER);
    paint.lineTo(isUpright ? RULER - size : at, isUpright ? at : RULER - size);
    if (tick % 10 !== 0) continue;
    const text = `${Number((tick * small).toPrecision(6))}${tick === 0 ? ` ${name}` : ""}`;
    if (isUpright) {
      paint.save();
      paint.translate(9, at + 3);
      paint.rotate(-Math.PI / 2);
      paint.textAlign = "right";
      paint.fillText(text, 0, 0);
      paint.restore();
    } else paint.fillText(text, at + 3, 10);
  }
  paint.stroke();
}
