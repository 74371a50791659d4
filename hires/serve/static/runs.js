// The runs that the server knows, and the one that is looked at: its id is in the address, so a reload finds it.

import { get } from "./api.js";

const POLL = 2000; // ms, where events do not arrive

/** Fires "list", "run" (the selected one, in full) and "connection". */
export class Runs extends EventTarget {
  list = [];
  run = null;
  id = null;
  connected = null;
  #versions = new Map();
  #due = null;
  #busy = false;

  async start() {
    window.addEventListener("hashchange", () => this.#fromAddress());
    this.id = idOfAddress();
    await this.refresh();
    if (!this.id && this.list.length) this.#choose();
    this.#listen();
    setInterval(() => this.#poll(), POLL);
  }

  /** Look at a run. */
  select(id) {
    history.replaceState(null, "", `#run=${id}`);
    this.id = id;
    this.run = null;
    return this.refresh();
  }

  async refresh() {
    clearTimeout(this.#due);
    this.#due = null;
    if (this.#busy) return this.#soon();
    this.#busy = true;
    try {
      const id = this.id;
      const [{ runs }, run] = await Promise.all([
        get("/api/runs"),
        id ? get(`/api/runs/${encodeURIComponent(id)}`).catch((error) => this.#gone(error)) : null,
      ]);
      this.list = runs;
      this.#connect(true);
      this.dispatchEvent(new Event("list"));
      if (id === this.id) {
        this.run = run;
        this.dispatchEvent(new Event("run"));
      }
    } catch {
      this.#connect(false);
    } finally {
      this.#busy = false;
    }
    if (!this.id && this.list.length) this.#choose();
    return undefined;
  }

  #gone(error) {
    if (error.status !== 404) throw error;
    this.id = null;
    return null;
  }

  #choose() {
    const active = this.list.find((run) => isActive(run) && run.state !== "queued");
    void this.select((active ?? this.list[0]).id);
  }

  #fromAddress() {
    const id = idOfAddress();
    if (id && id !== this.id) void this.select(id);
  }

  #connect(isThere) {
    if (isThere === this.connected) return;
    this.connected = isThere;
    this.dispatchEvent(new Event("connection"));
  }

  #listen() {
    const events = new EventSource("/api/events");
    events.onmessage = (event) => {
      this.#connect(true);
      let news = [];
      try {
        news = JSON.parse(event.data).runs ?? [];
      } catch {
        return;
      }
      let changed = news.length !== this.#versions.size;
      for (const { id, version, state } of news) {
        const told = `${version} ${state}`;
        changed ||= this.#versions.get(id) !== told;
        this.#versions.set(id, told);
      }
      if (changed) this.#soon();
    };
    this.events = events;
  }

  #soon() {
    this.#due ??= setTimeout(() => this.refresh(), 250);
  }

  #poll() {
    const isDeaf = this.events?.readyState !== EventSource.OPEN;
    if (document.hidden) return;
    if (isDeaf) void this.refresh();
  }
}

export const isActive = (run) => ["queued", "running", "stopping"].includes(run.state);

function idOfAddress() {
  return new URLSearchParams(location.hash.slice(1)).get("run");
}
