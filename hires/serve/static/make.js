// From pictures and options to a run: what it will take, a dozen variations, a close-up, the start.

import { follow, post, upload } from "./api.js";
import { closeupFigures } from "./closeup.js";
import { announce, find, inBytes, inPixels, inSize, inTime, make, tell, working } from "./dom.js";
import { paintRegions, tint, toMasks } from "./regions.js";

const DRAFT = "hires.draft";
const OURS = /^a region is .* resized/; // regions are painted coarser than the photograph: no news

export class Make {
  regions = null;
  #plan = null; // the job that the plan on the page is of, as text
  #stop = {}; // what is being asked, by panel

  #closeup = null; // {of: the job that a close-up was painted of, as text; id}

  constructor(pictures, options, runs) {
    Object.assign(this, { pictures, options, runs });
    this.error = find("ask-error");
    this.buttons = { plan: find("ask-plan"), dozen: find("ask-dozen"), closeup: find("ask-closeup") };
    this.buttons.plan.addEventListener("click", () => (this.isApply ? this.#paint(this.buttons.plan) : this.#ask("plan")));
    this.buttons.dozen.addEventListener("click", () => this.#ask("dozen"));
    this.buttons.closeup.addEventListener("click", () => this.#ask("closeup"));
    this.#restore();
    pictures.addEventListener("change", () => this.#changed());
    options.addEventListener("change", () => this.#changed());
    this.#changed();
  }

  get isApply() {
    return this.options.mode === "apply";
  }

  #restore() {
    try {
      const draft = JSON.parse(sessionStorage.getItem(DRAFT) ?? "null");
      if (!draft) return;
      this.options.restore(draft.options ?? {});
      this.regions = draft.regions ?? null;
      this.pictures.set(draft.content ?? null, draft.styles ?? []);
    } catch {
      sessionStorage.removeItem(DRAFT);
    }
  }

  #save() {
    const { content } = this.pictures;
    const styles = this.pictures.styles.map(({ picture, weight }) => ({ picture, weight }));
    try {
      sessionStorage.setItem(DRAFT, JSON.stringify({ content, styles, regions: this.regions, options: this.options.save() }));
    } catch {
      // A draft that is too large is not kept.
    }
  }

  #changed() {
    const { content, styles } = this.pictures;
    const isReady = Boolean(content && (styles.length || this.isApply));
    if (this.photograph !== content?.id) {
      if (this.photograph) this.regions = null; // They are of the other photograph.
      this.photograph = content?.id;
    }
    if (this.regions && this.regions.numStyles !== styles.length) this.regions = null;
    for (const button of Object.values(this.buttons)) {
      if (!button.hasAttribute("aria-busy")) button.disabled = !isReady;
    }
    this.buttons.plan.textContent = this.isApply ? "Paint in seconds" : "What will it take?";
    this.buttons.dozen.hidden = this.isApply;
    this.buttons.closeup.hidden = this.isApply;
    find("styles").hidden = this.isApply;
    find("ask-hint").textContent = isReady ? "" : content ? "It needs a painting, too." : "It needs a photograph and a painting.";
    this.#showRegions();
    this.#save();
    if (this.#plan !== null && this.#plan !== JSON.stringify(this.#draft())) this.#outdated();
  }

  /** The job, but for the masks, which are sent when it is asked for. */
  #draft() {
    const { content } = this.pictures;
    const styles = this.isApply ? [] : this.pictures.painting(Boolean(this.regions));
    const job = { content: content?.id, ...this.options.values(), styles: styles.map(({ picture }) => picture.id) };
    const weights = styles.map(({ weight }) => weight);
    if (weights.some((weight) => weight !== weights[0])) job.weights = weights;
    if (this.regions && !this.isApply) job.regions = this.regions;
    return job;
  }

  /** The job as the server takes it. */
  async #job() {
    const { regions, ...job } = this.#draft();
    if (!regions) return job;
    const { content } = this.pictures;
    if (!regions.masks) {
      const masks = await toMasks(regions, content.width, content.height, job.styles.length);
      const sent = await Promise.all(masks.map(({ blob }) => upload(blob, "mask")));
      Object.defineProperty(regions, "masks", {
        value: sent.map(({ id }, i) => ({ mask: id, style: masks[i].style })),
        enumerable: false,
      });
    }
    job.masks = regions.masks;
    if (job.masks.every(({ style }) => typeof style === "number")) delete job.weights;
    return job;
  }

  #showRegions() {
    const { content, styles } = this.pictures;
    const place = this.pictures.regions;
    const isShown = Boolean(content && styles.length && !this.isApply);
    const had = place.contains(document.activeElement);
    place.replaceChildren();
    if (!isShown) return;
    const edit = make("button", {
      type: "button",
      id: "regions-edit",
      textContent: this.regions ? "Change the regions" : "Paint regions on it",
      on: { click: () => this.#editRegions(edit) },
    });
    place.append(edit);
    if (this.regions) {
      const numbers = [...new Set(this.regions.strokes.map(({ number }) => number))].filter((number) => number >= 0);
      const swatches = numbers.sort().map((number) => {
        const swatch = make("i.swatch", { title: number ? styles[number - 1]?.picture.name : "kept" });
        swatch.style.background = tint(number);
        return swatch;
      });
      const away = make("button.quiet", {
        type: "button",
        textContent: "Without",
        "aria-label": "Paint without regions",
        on: {
          click: () => {
            this.regions = null;
            this.#changed();
            find("regions-edit").focus();
          },
        },
      });
      place.append(...swatches, away);
    } else place.append(make("span.hint", { textContent: "which painting where, and what stays" }));
    if (had) edit.focus();
  }

  async #editRegions(button) {
    const found = await working(button, this.pictures.contentError, () =>
      paintRegions(this.pictures.content, this.pictures.names, this.regions),
    );
    if (found !== undefined) {
      this.regions = found;
      this.#changed();
    }
    find("regions-edit")?.focus();
  }

  /** Show what is asked for in its panel; what was asked there before is forgotten. */
  async #ask(what) {
    this.#stop[what]?.abort();
    const stop = (this.#stop[what] = new AbortController());
    const panel = find(what);
    const act = { plan: this.#showPlan, dozen: this.#showDozen, closeup: this.#showCloseup }[what];
    this.options.forgive();
    await working(this.buttons[what], this.error, async () => {
      try {
        await act.call(this, panel, stop.signal);
      } catch (error) {
        panel.hidden = true;
        if (error.name !== "AbortError") this.#blame(error);
      }
    });
    this.#changed();
  }

  /** A refusal goes beside what it is of. */
  #blame(error) {
    const { contentError, stylesError } = this.pictures;
    error.message = this.#named(error.message);
    // Messages name the option that they are of as `option`.
    const name = error.field ?? error.message.match(/`(\w+)[`=]/)?.[1];
    const place = { content: contentError, styles: stylesError, style_weights: stylesError, masks: contentError, mask: contentError }[name];
    if (place) tell(place, error.message);
    else if (!this.options.blame(name, error.message)) throw error;
  }

  /** What the server calls by its place, by its name. */
  #named(text) {
    const { content, styles } = this.pictures;
    const names = new Map([content, ...styles.map(({ picture }) => picture)].map((picture) => [picture?.id.slice(0, 8), picture?.name]));
    return text.replace(/\S*uploads\/[a-z0-9-]+-(\w{8})(?:\.\w+)?/g, (_, id) => names.get(id) ?? "a region");
  }

  #open(panel, title, ...children) {
    const close = make("button.quiet.remove", {
      type: "button",
      textContent: "×",
      "aria-label": `Close ${title}`,
      on: {
        click: () => {
          this.#stop[panel.id]?.abort();
          panel.hidden = true;
          this.buttons[panel.id].focus();
        },
      },
    });
    panel.replaceChildren(make("div.panel-head", {}, make("h3", { textContent: title }), close), ...children.filter(Boolean));
    panel.hidden = false;
  }

  async #showPlan(panel, signal) {
    const asked = JSON.stringify(this.#draft());
    this.#open(panel, "What it will take", waiting("It reads the pictures and measures this machine"));
    announce("It is being worked out.");
    const job = await this.#job();
    const { plan } = await post("/api/plan", job);
    const told = await follow(`/api/plan/${plan}`, signal);
    this.#plan = asked;
    const paint = make("button.main", { type: "button", id: "paint", textContent: "Paint" });
    paint.addEventListener("click", () => this.#paint(paint));
    this.stale = make("p.hint", { hidden: true, textContent: "Pictures or options have changed since." });
    const summary = inWords(told, job.print);
    this.#open(
      panel,
      "What it will take",
      make("p.summary", { id: "plan-summary", textContent: summary }),
      warnings(told.warnings?.map((text) => this.#named(text)).filter((text) => !OURS.test(text))),
      table(told.rows ?? []),
      make("div.buttons", {}, paint, this.stale),
    );
    announce(summary);
    panel.scrollIntoView({ block: "nearest" });
    paint.focus({ preventScroll: true });
  }

  #outdated() {
    const paint = find("paint");
    if (paint) paint.disabled = true;
    if (this.stale) this.stale.hidden = false;
    this.#plan = null;
  }

  async #paint(button) {
    await working(button, this.error, async () => {
      try {
        const isSame = this.#closeup?.of === JSON.stringify(this.#draft());
        const closeup = isSame ? { closeup: this.#closeup.id } : {};
        const { run } = await post("/api/runs", { ...(await this.#job()), ...closeup });
        this.#stop.plan?.abort();
        find("plan").hidden = true;
        this.#plan = null;
        await this.runs.select(run);
        find("watch").scrollIntoView();
        find("watch").focus({ preventScroll: true });
      } catch (error) {
        this.#blame(error);
      }
    });
    this.#changed();
  }

  async #showDozen(panel, signal) {
    const state = make("p.hint", { textContent: "A dozen small paintings, one after the other …" });
    const bar = make("progress", { max: 12, "aria-label": "Variations painted" });
    const cells = make("ul.cells", { "aria-label": "Variations: press one to take its options over" });
    this.#open(panel, "A dozen to choose from", state, bar, cells);
    const { variations } = await post("/api/variations", await this.#job());
    const shown = new Map();
    const answer = await follow(`/api/variations/${variations}`, signal, (told) => {
      bar.max = told.of ?? 12;
      bar.value = told.done ?? 0;
      for (const cell of told.cells ?? []) {
        if (!cell.picture || shown.has(cell.number)) continue;
        shown.set(cell.number, cell);
        cells.append(this.#cell(cell, cells));
      }
    });
    bar.hidden = true;
    state.textContent = "Press one: its options are filled in above.";
    announce("The variations are there.");
    if (answer.sheet) panel.append(make("p", {}, make("a", { href: answer.sheet, target: "_blank", textContent: "All on one sheet" })));
  }

  #cell(cell, cells) {
    const label = cell.label.replace(/^style (\d+)/, (told, number) => this.pictures.names[number - 1] ?? told);
    const button = make(
      "button.cell",
      {
        type: "button",
        "aria-pressed": "false",
        on: {
          click: () => {
            for (const other of cells.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
            const alone = cell.styles?.length && cell.styles.length < this.pictures.styles.length;
            if (alone) this.pictures.only(cell.styles);
            this.options.fill(cell.options ?? {}, `${label}: filled in.`);
          },
        },
      },
      make("img", { src: cell.picture, alt: "" }),
      make("span", { textContent: label }),
    );
    return make("li", {}, button);
  }

  async #showCloseup(panel, signal) {
    const asked = JSON.stringify(this.#draft());
    const words = "It paints up to about a megapixel, then a part as the finished painting will have it";
    const state = waiting(words);
    this.#open(panel, CLOSEUP, state);
    const { closeup } = await post("/api/closeup", await this.#job());
    const told = await follow(`/api/closeup/${closeup}`, signal, ({ size, of, step }) => {
      if (size) state.textContent = `${words}: ${size} px, step ${step} of ${of} …`;
    });
    this.#closeup = { of: asked, id: closeup };
    this.#open(panel, CLOSEUP, closeupFigures(told));
    announce("The close-up is there.");
  }
}

const CLOSEUP = "A close-up, pixel for pixel";

const waiting = (text) => make("p.hint.waiting", { role: "status", textContent: `${text} …` });

function inWords({ seconds, memory, width, height }, print) {
  const size = width && height ? ` for ${inPixels(width, height)}` : "";
  const paper = print?.paper ? ` (${print.paper}${print.dpi ? ` at ${print.dpi} dpi` : ""})` : "";
  const time = seconds ? `About ${inTime(seconds)}` : "Some time";
  return `${time}${memory ? ` and ${inBytes(memory)} of memory` : ""}${size}${paper}.`;
}

function warnings(texts) {
  if (!texts?.length) return null;
  return make("ul.warnings", { "aria-label": "Warnings" }, ...texts.map((text) => make("li", { textContent: text })));
}

function table(rows) {
  const head = ["Size", "Steps", "Tiles", "Memory", "Time"].map((text) => make("th", { scope: "col", textContent: text }));
  const lines = rows.map(({ size, steps, tiles, memory, seconds }) =>
    make(
      "tr",
      {},
      make("th", { scope: "row", textContent: inSize(size) }),
      ...[steps, tiles, inBytes(memory), inTime(seconds)].map((value) => make("td", { textContent: String(value ?? "") })),
    ),
  );
  return make("table", {}, make("caption.unseen", { textContent: "Size by size" }), make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...lines));
}
