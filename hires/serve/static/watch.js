// The run that is looked at: its picture as it grows, how far it is, its losses; and the queue.

import { post } from "./api.js";
import { showCurves } from "./curves.js";
import { announce, find, inPixels, inTime, make, percent, tell, working } from "./dom.js";
import { isActive } from "./runs.js";

const STATES = {
  queued: "Waiting for its turn",
  running: "Painting",
  stopping: "Stopping",
  stopped: "Stopped",
  failed: "Failed",
  done: "Finished",
};

export const stateOf = (run) => STATES[run.state] ?? run.state;

export class Watch {
  #shown = null;
  #told = "";

  constructor(place, queue, runs) {
    this.place = place;
    this.queue = queue;
    this.runs = runs;
    runs.addEventListener("run", () => this.show());
    runs.addEventListener("list", () => this.showQueue());
    new ResizeObserver(() => this.#curves()).observe(place);
    this.#build();
    this.show();
  }

  #build() {
    this.picture = make("img", { alt: "", hidden: true });
    this.empty = make("p.hint", { textContent: "The first picture comes soon." });
    this.name = make("h3", { id: "run-name" });
    this.size = make("p.caption");
    this.state = make("p.state", { id: "run-state" });
    this.bar = make("progress", { max: 1, value: 0, "aria-labelledby": "run-name" });
    this.where = make("p.where", { id: "run-where" });
    this.left = make("p.left", { id: "run-left" });
    this.error = make("p.error", { id: "run-error", role: "alert", hidden: true });
    this.curves = make("div.curves-place", { id: "curves" });
    this.rungs = make("ol.rungs", { "aria-label": "Sizes" });
    const act = (id, text, what, body, kind = "") => {
      const button = make("button", { type: "button", id, textContent: text, className: kind });
      button.addEventListener("click", () =>
        working(button, this.error, async () => {
          await post(`/api/runs/${this.runs.id}/${what}`, body);
          await this.runs.refresh();
        }),
      );
      return button;
    };
    this.buttons = {
      size: act("stop-size", "Stop at this size", "stop", { after: "size" }),
      stop: act("stop", "Stop now", "stop", { after: "now" }),
      resume: act("resume", "Resume", "resume", {}, "main"),
      remove: act("remove", "Take out of the queue", "remove", {}),
    };
    this.whole = make(
      "div.watch",
      {},
      make("figure.live", {}, this.picture, this.empty),
      make(
        "div.watch-side",
        {},
        this.state,
        this.name,
        this.size,
        this.bar,
        make("div.facts", {}, this.where, this.left),
        this.rungs,
        make("div.buttons", {}, ...Object.values(this.buttons)),
        this.error,
        this.curves,
      ),
    );
    this.nothing = make("p.nothing", { textContent: "Nothing is painted yet. What you start above appears here." });
  }

  show() {
    const { run } = this.runs;
    this.place.replaceChildren(run ? this.whole : this.nothing);
    if (!run) return;
    this.place.dataset.run = run.id;
    this.place.dataset.state = run.state;
    this.state.textContent = stateOf(run);
    this.name.textContent = run.name;
    this.size.textContent = run.width ? inPixels(run.width, run.height) : "";
    this.bar.value = run.progress ?? 0;
    this.bar.hidden = run.state === "done";
    this.#where(run);
    const { state } = run;
    // Before its first step a run is at no size, and hears no wish.
    this.buttons.size.hidden = state !== "running" || run.step == null;
    this.buttons.stop.hidden = state !== "running";
    this.buttons.resume.hidden = !(state === "stopped" || state === "failed") || run.resumable === false;
    this.buttons.remove.hidden = state !== "queued";
    tell(this.error, run.error);
    this.#preview(run);
    this.#curves();
    this.#announce(run);
  }

  #where(run) {
    const rungs = run.rungs ?? [];
    const here = rungs[run.rung - 1];
    this.where.textContent = here
      ? `Size ${run.rung} of ${rungs.length} · ${here.size} px · step ${run.step} of ${here.steps}`
      : "";
    const left = inTime(run.seconds_left);
    this.left.textContent = left && isActive(run) ? `about ${left} left` : "";
    this.rungs.hidden = rungs.length < 2;
    this.rungs.replaceChildren(
      ...rungs.map(({ size }, i) => {
        const isDone = run.state === "done" || i + 1 < run.rung;
        const line = make("li", { textContent: `${size} px`, className: isDone ? "past" : i + 1 === run.rung ? "now" : "" });
        if (!isDone && i + 1 === run.rung) line.setAttribute("aria-current", "step");
        return line;
      }),
    );
  }

  /** The next picture is shown when all of it is there: no flicker. */
  #preview(run) {
    if (this.#shown?.id !== run.id) {
      this.picture.hidden = true;
      this.empty.hidden = false;
      this.#shown = { id: run.id, url: null };
    }
    this.empty.textContent = isActive(run) ? "The first picture comes soon." : "It has no picture yet.";
    if (!run.preview || run.preview === this.#shown.url) return;
    const { preview, id } = run;
    this.#shown.url = preview;
    const next = new Image();
    next.src = preview;
    next.decode().then(
      () => {
        if (this.#shown.id !== id || this.#shown.url !== preview) return;
        this.picture.src = preview;
        this.picture.alt = `${run.name}, ${stateOf(run).toLowerCase()}, ${percent(run.progress)}`;
        this.picture.hidden = false;
        this.empty.hidden = true;
      },
      () => {},
    );
  }

  #curves() {
    const { run } = this.runs;
    this.curves.hidden = !run?.trace?.length && !isActive(run ?? {});
    if (run?.trace && this.curves.isConnected) showCurves(this.curves, run.trace, run.rungs ?? []);
  }

  /** Not every step: a change of state, of size, and each quarter. */
  #announce(run) {
    const quarter = Math.floor((run.progress ?? 0) * 4);
    const told = `${run.id} ${run.state} ${run.rung} ${quarter}`;
    if (told === this.#told) return;
    this.#told = told;
    const left = run.seconds_left && isActive(run) ? `, about ${inTime(run.seconds_left)} left` : "";
    announce(`${run.name}: ${stateOf(run)}, ${percent(run.progress)}${left}.`);
    document.title = isActive(run) ? `${percent(run.progress)} · hires studio` : "hires studio";
  }

  showQueue() {
    const active = this.runs.list.filter(isActive);
    const waits = active.length > 1 || (active.length === 1 && active[0].id !== this.runs.id);
    find("queue").hidden = !waits;
    if (!waits) return;
    this.queue.replaceChildren(
      make("h3", { id: "queue-title", textContent: "Queue" }),
      make("ol.queue", { "aria-labelledby": "queue-title" }, ...active.map((run) => this.#line(run))),
    );
  }

  #line(run) {
    const left = inTime(run.seconds_left);
    const words = run.state === "queued" ? "waits" : `${percent(run.progress)}${left ? `, about ${left} left` : ""}`;
    const button = make(
      "button.quiet",
      { type: "button", on: { click: () => this.runs.select(run.id) } },
      make("strong", { textContent: run.name }),
      make("span", { textContent: words }),
    );
    if (run.id === this.runs.id) button.setAttribute("aria-current", "true");
    return make("li", {}, button);
  }
}
