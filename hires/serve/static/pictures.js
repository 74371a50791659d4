// The photograph and the paintings: dropped, pasted or picked, and sent to the server at once.

import { upload } from "./api.js";
import { announce, inBytes, inPixels, make, newId, percent, tell } from "./dom.js";

const KINDS = "image/*,.tif,.tiff,.heic,.heif,.pdf,.jp2,.avif,.webp";

/** A place for files: dropped on it, or picked by its button. */
function dropZone({ name, title, hint, many, act }) {
  const input = make("input", {
    id: `${name}-file`,
    className: "unseen",
    type: "file",
    accept: KINDS,
    multiple: many,
    tabIndex: -1,
    "aria-label": title,
    on: {
      change: () => {
        const files = [...input.files];
        input.value = "";
        if (files.length) act(files);
      },
    },
  });
  const button = make(
    "button.drop",
    { type: "button", id: `${name}-drop`, on: { click: () => input.click() } },
    make("strong", { textContent: title }),
    make("span", { textContent: hint }),
  );
  const zone = make("div.zone", {}, button, input);
  let depth = 0; // entering a child leaves its parent
  const mark = (change) => {
    depth = Math.max(depth + change, 0);
    zone.classList.toggle("over", depth > 0);
  };
  zone.addEventListener("dragenter", (event) => (event.preventDefault(), mark(1)));
  zone.addEventListener("dragleave", () => mark(-1));
  zone.addEventListener("dragover", (event) => event.preventDefault());
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(-depth);
    const files = [...event.dataTransfer.files];
    if (files.length) act(many ? files : files.slice(0, 1));
  });
  return { zone, button };
}

/** Fires "change" when pictures or weights do. */
export class Pictures extends EventTarget {
  content = null;
  styles = []; // {picture, weight}
  mostBytes = Infinity;

  constructor(contentPlace, stylesPlace) {
    super();
    this.photograph = dropZone({
      name: "content",
      title: "Photograph",
      hint: "Drop it here, or press to choose",
      act: ([file]) => this.#send([file], "content"),
    });
    this.paintings = dropZone({
      name: "styles",
      title: "Paintings",
      hint: "Drop one or several, or press to choose",
      many: true,
      act: (files) => this.#send(files, "style"),
    });
    this.contentError = make("p.error", { role: "alert", hidden: true });
    this.stylesError = make("p.error", { role: "alert", hidden: true });
    this.shown = make("div.shown");
    this.regions = make("div.regions-line");
    this.photograph.zone.append(this.shown);
    this.cards = make("ul.cards", { "aria-label": "Paintings chosen" });
    contentPlace.append(this.photograph.zone, this.regions, this.contentError);
    stylesPlace.append(this.paintings.zone, this.cards, this.stylesError);
    window.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
      if (files.length) void this.#send(files.slice(0, 1), this.content ? "style" : "content");
    });
    // A file that misses its place must not take the page away.
    for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
    this.show();
  }

  get names() {
    return this.styles.map(({ picture }) => picture.name);
  }

  /** The styles that paint: those of no weight are left out, unless regions name them. */
  painting(isAll) {
    const found = this.styles.filter(({ weight }) => weight > 0);
    return isAll || !found.length ? this.styles : found;
  }

  /** Give weight only to some styles, by their numbers from 1. */
  only(numbers) {
    this.styles.forEach((style, place) => (style.weight = numbers.includes(place + 1) ? style.weight || 1 : 0));
    this.#changed();
  }

  set(content, styles) {
    this.content = content;
    this.styles = styles;
    this.#changed();
  }

  async #send(files, kind) {
    const isContent = kind === "content";
    const { button, zone } = isContent ? this.photograph : this.paintings;
    const error = isContent ? this.contentError : this.stylesError;
    const hint = button.querySelector("span");
    const before = hint.textContent;
    tell(error, null);
    zone.classList.add("sending");
    for (const file of files) {
      try {
        // A server that refuses it hangs up before the browser has read why.
        if (file.size > this.mostBytes) throw new Error(`It has ${inBytes(file.size)}: at most ${inBytes(this.mostBytes)} are taken.`);
        const picture = await upload(file, kind, (share) => {
          hint.textContent = share < 1 ? `Sending ${file.name}: ${percent(share)}` : `Reading ${file.name}`;
        });
        if (isContent) this.content = picture;
        else this.styles.push({ picture, weight: 1 });
        announce(`${picture.name}, ${inPixels(picture.width, picture.height)}, is there.`);
        this.#changed();
      } catch (refusal) {
        tell(error, `${file.name}: ${refusal.message}`);
      }
    }
    zone.classList.remove("sending");
    hint.textContent = before;
    this.show();
  }

  #changed() {
    this.show();
    this.dispatchEvent(new Event("change"));
  }

  show() {
    const { content } = this;
    this.photograph.zone.classList.toggle("full", Boolean(content));
    this.photograph.button.querySelector("strong").textContent = content ? "Another photograph" : "Photograph";
    this.shown.replaceChildren();
    if (content) {
      this.shown.append(
        make("img", { src: content.preview, alt: `Photograph ${content.name}` }),
        make("p.caption", { textContent: `${content.name} · ${inPixels(content.width, content.height)}` }),
      );
    }
    this.paintings.button.querySelector("strong").textContent = this.styles.length ? "Add a painting" : "Paintings";
    this.paintings.zone.classList.toggle("small", this.styles.length > 0);
    this.cards.hidden = !this.styles.length;
    this.cards.replaceChildren(...this.styles.map((style, place) => this.#card(style, place)));
  }

  #card(style, place) {
    const { picture } = style;
    const several = this.styles.length > 1;
    const card = make(
      "li.card",
      {},
      make("img", { src: picture.preview, alt: "" }),
      make(
        "div.card-text",
        {},
        make("p.name", { textContent: several ? `${place + 1}. ${picture.name}` : picture.name }),
        make("p.caption", { textContent: inPixels(picture.width, picture.height) }),
        several ? this.#slider(style, place) : null,
      ),
      make("button.quiet.remove", {
        type: "button",
        textContent: "×",
        title: `Leave out ${picture.name}`,
        "aria-label": `Leave out ${picture.name}`,
        on: {
          click: () => {
            this.styles.splice(place, 1);
            this.#changed();
            this.paintings.button.focus();
          },
        },
      }),
    );
    return card;
  }

  #slider(style, place) {
    const id = newId("weight");
    const told = make("output", { htmlFor: id });
    const input = make("input", {
      id,
      type: "range",
      min: 0,
      max: 2,
      step: 0.05,
      value: style.weight,
      "aria-label": `Weight of painting ${place + 1}, ${style.picture.name}`,
      on: {
        input: () => {
          style.weight = Number(input.value);
          this.#tellShares();
          this.dispatchEvent(new Event("change"));
        },
      },
    });
    style.told = { told, input };
    queueMicrotask(() => this.#tellShares());
    return make("div.weight", {}, input, told);
  }

  #tellShares() {
    const whole = this.styles.reduce((sum, { weight }) => sum + weight, 0);
    for (const { weight, told } of this.styles) {
      if (!told) continue;
      const share = percent(whole ? weight / whole : 0);
      told.told.textContent = share;
      told.input.setAttribute("aria-valuetext", share);
    }
  }
}
