// What is taken home: files, the command that repeats the painting, and all paintings of the folder.

import { get } from "./api.js";
import { announce, find, inPixels, inTime, make, onDay, percent, working } from "./dom.js";
import { isActive } from "./runs.js";
import { stateOf } from "./watch.js";

export class Take {
  #told; // what is shown; not even nothing is at first
  #tiles = new Map();

  constructor(place, gallery, runs) {
    this.place = place;
    this.gallery = gallery;
    this.runs = runs;
    runs.addEventListener("run", () => this.show());
    runs.addEventListener("list", () => this.showGallery());
    this.show();
  }

  show() {
    const { run } = this.runs;
    const told = run && JSON.stringify([run.id, run.downloads, run.command]);
    if (told === this.#told) return;
    this.#told = told;
    const downloads = run?.downloads ?? [];
    this.place.replaceChildren(
      downloads.length ? this.#downloads(run, downloads) : make("p.nothing", { textContent: "Files appear here when a painting is finished." }),
      ...(run?.command ? [command(run.command)] : []),
    );
  }

  #downloads(run, downloads) {
    const error = make("p.error", { role: "alert", hidden: true });
    const list = make(
      "ul.downloads",
      { "aria-label": `Files of ${run.name}` },
      ...downloads.map(({ label, url }) => {
        const button = make("button", { type: "button", textContent: label, data: { url } });
        button.addEventListener("click", () => working(button, error, () => fetchFile(url, label), "Preparing …"));
        return make("li", {}, button);
      }),
    );
    return make("div", {}, list, error);
  }

  showGallery() {
    const { list } = this.runs;
    const ids = new Set(list.map(({ id }) => id));
    for (const [id, tile] of this.#tiles) {
      if (!ids.has(id)) {
        tile.remove();
        this.#tiles.delete(id);
      }
    }
    this.gallery.hidden = find("gallery-title").hidden = !list.length;
    list.forEach((run, place) => {
      if (!this.#tiles.has(run.id)) this.#tiles.set(run.id, this.#tile(run));
      const tile = this.#tiles.get(run.id);
      fill(tile, run, run.id === this.runs.id);
      // Moved only if it is elsewhere: a tile that is moved loses the focus.
      if (this.gallery.children[place] !== tile) this.gallery.insertBefore(tile, this.gallery.children[place] ?? null);
    });
  }

  #tile(run) {
    return make(
      "li",
      {},
      make(
        "button.tile",
        {
          type: "button",
          data: { run: run.id },
          on: {
            click: async () => {
              await this.runs.select(run.id);
              const to = isActive(run) ? "watch" : "look";
              const part = document.getElementById(to);
              part.scrollIntoView();
              part.focus({ preventScroll: true });
            },
          },
        },
        make("span.tile-picture", {}, make("img", { alt: "", loading: "lazy", hidden: true })),
        make("strong"),
        make("span.caption"),
      ),
    );
  }
}

function fill(tile, run, isShown) {
  const button = tile.firstChild;
  const picture = button.querySelector("img");
  if (run.preview && picture.getAttribute("src") !== run.preview) picture.src = run.preview;
  picture.hidden = !run.preview;
  button.querySelector("strong").textContent = run.name;
  const left = inTime(run.seconds_left);
  const state = isActive(run)
    ? `${stateOf(run)} ${percent(run.progress)}${left ? `, ${left} left` : ""}`
    : run.state === "done"
      ? run.width
        ? inPixels(run.width, run.height)
        : ""
      : stateOf(run);
  button.querySelector(".caption").textContent = [state, onDay(run.made)].filter(Boolean).join(" · ");
  if (isShown) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
}

/** The server makes the file first and says if it cannot; then the browser takes it, as large as it is. */
async function fetchFile(url, label) {
  const answer = await fetch(url, { method: "HEAD" }).catch(() => null);
  if (!answer?.ok) {
    await get(url); // says why
    throw new Error(`${label} could not be made.`);
  }
  const link = make("a", { href: url, download: "" });
  document.body.append(link);
  link.click();
  link.remove();
  announce(`${label} is on its way.`);
}

function command(text) {
  const told = make("span.hint", { role: "status" });
  const copy = make("button", {
    type: "button",
    id: "copy",
    textContent: "Copy",
    on: {
      click: async () => {
        try {
          await navigator.clipboard.writeText(text);
          told.textContent = "Copied.";
        } catch {
          getSelection().selectAllChildren(code);
          told.textContent = "Selected: copy it by keyboard.";
        }
      },
    },
  });
  const code = make("code", { textContent: text });
  return make(
    "div.command",
    {},
    make("h3", { id: "command-title", textContent: "The command that repeats it" }),
    make("pre", { tabIndex: 0, "aria-labelledby": "command-title" }, code),
    make("div.buttons", {}, copy, told),
  );
}
