// The options, built from what the server says of them: names, limits and help are the command line's.

import { announce, make, newId, tell } from "./dom.js";

// What most people change at once, in this order; the rest is under "More".
const FIRST = ["brush_size", "color", "content_weight", "detail_weight", "style_scale", "style_loss", "seed"];
const PRINT = ["paper", "dpi", "bleed", "fit", "gravity", "landscape", "portrait"];
const SLIDERS = {
  content_weight: { factor: 16, ends: ["freer", "closer to the photograph"] },
  style_scale: { factor: 4, ends: ["finer strokes", "broader strokes"] },
  detail_weight: { most: 1, ends: ["free drawing", "faces stay"] },
};
const WORDS = {
  color: {
    style: "The painting's",
    content: "The photograph's",
    luminance: "The photograph's; light and dark painted",
    match: "The painting's, given the photograph's first",
    palette: "The painting's, laid out as in the photograph",
  },
  fit: { crop: "Fill the paper (crop)", pad: "Keep all of it (white margins)" },
};
const FILES = {
  "png": { words: "PNG", deliver: null, format: "png" },
  "master": { words: "Master: 16-bit TIFF, to keep", deliver: "master", format: "tif" },
  "lab-tif": { words: "For a lab: TIFF", deliver: "lab", format: "tif" },
  "lab-jpg": { words: "For a lab: JPEG", deliver: "lab", format: "jpg" },
  "lab-pdf": { words: "For a lab: PDF", deliver: "lab", format: "pdf" },
};

/** Fires "change". */
export class Options extends EventTarget {
  #fields = new Map(); // name -> {field, read, write, error, row}
  mode = "paint";
  measure = "size";

  constructor(form, told) {
    super();
    this.form = form;
    const named = (field) => ({ ...field, label: field.label.replace(/^(Dpi|Tv)\b/, (word) => word.toUpperCase()) });
    this.told = { ...told, fields: told.fields.map(named) };
    this.labels = new Map(this.told.fields.map(({ name, label }) => [name, label]));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => this.dispatchEvent(new Event("change")));
    this.#build();
    this.#show();
  }

  #build() {
    const fields = new Map(this.told.fields.map((field) => [field.name, field]));
    const row = (name) => (fields.has(name) ? this.#row(fields.get(name)) : null);
    this.models = this.told.models ?? [];
    if (this.models.length) this.form.append(this.#modes());
    this.modelRow = this.models.length ? this.#modelRow() : null;
    if (this.modelRow) this.form.append(this.modelRow);
    this.sizePart = make("div.rows", {}, row("size"));
    this.paperPart = make("div.rows", {}, ...(this.told.papers?.length ? this.#paper(fields) : []));
    this.look = make("div.rows", {}, ...FIRST.map(row), this.#file());
    if (this.told.papers?.length) this.form.append(this.#measures());
    this.form.append(this.sizePart, this.paperPart, this.look);
    const rest = this.told.fields.filter(({ name }) => !this.#fields.has(name) && name !== "print");
    if (!rest.length) return;
    this.more = make("details.more", {}, make("summary", { textContent: "More" }));
    const groups = Map.groupBy ? Map.groupBy(rest, ({ group }) => group) : grouped(rest);
    for (const [group, members] of groups) {
      if (groups.size > 1) this.more.append(make("h4", { textContent: capital(group ?? "") }));
      this.more.append(make("div.rows", {}, ...members.map((field) => this.#row(field))));
    }
    this.form.append(this.more);
  }

  #modes() {
    const choice = segments("How", [
      ["paint", "Paint"],
      ["apply", "In seconds"],
    ]);
    choice.addEventListener("change", (event) => {
      this.mode = event.target.value;
      this.#show();
    });
    this.modeChoice = choice;
    return choice;
  }

  #modelRow() {
    const id = newId("model");
    this.model = make("select", { id }, ...this.models.map((name) => new Option(capital(name), name)));
    return make(
      "div.row",
      {},
      make("label", { htmlFor: id, textContent: "Trained network" }),
      this.model,
      make("p.help", { textContent: "It knows one way of painting, and paints the photograph as large as it is, in one pass." }),
    );
  }

  #measures() {
    const choice = segments("How large", [
      ["size", "In pixels"],
      ["paper", "For paper"],
    ]);
    choice.addEventListener("change", (event) => {
      this.measure = event.target.value;
      this.#show();
    });
    this.measureChoice = choice;
    return choice;
  }

  #paper(fields) {
    const papers = this.told.papers.map((paper) => (typeof paper === "string" ? paper : paper.name));
    const known = fields.get("paper") ?? { name: "paper", label: "Paper", help: "A name, or a size such as 50x70cm." };
    const paper = this.#row({ ...known, label: "Paper", kind: "text", suggestions: papers, default: "A3" });
    const others = PRINT.slice(1).filter((name) => fields.has(name));
    const pairs = [["dpi", "bleed"], ["fit", "gravity"], ["landscape", "portrait"]].map((names) =>
      names.filter((name) => others.includes(name)).map((name) => this.#row(fields.get(name))),
    );
    return [paper, ...pairs.map((pair) => make("div.pair", {}, ...pair))];
  }

  #file() {
    const id = newId("file");
    this.file = make("select", { id }, ...Object.entries(FILES).map(([name, { words }]) => new Option(words, name)));
    return make("div.row", {}, make("label", { htmlFor: id, textContent: "Finished file" }), this.file);
  }

  #row(field) {
    const id = `option-${field.name}`;
    const helpId = `${id}-help`;
    const help = make("p.help", { id: helpId, textContent: this.#words(field.help ?? ""), hidden: true });
    const error = make("p.error", { role: "alert", hidden: true });
    const { control, read, write, isGroup } = this.#control(field, id, helpId);
    const label = isGroup
      ? make("span.label", { id: `${id}-label`, textContent: field.label })
      : make("label", { htmlFor: id, textContent: field.label });
    const more = field.help
      ? make("button.quiet.ask", {
          type: "button",
          textContent: "?",
          "aria-label": `What is ${field.label}?`,
          "aria-expanded": "false",
          "aria-controls": helpId,
          on: {
            click: () => {
              help.hidden = !help.hidden;
              more.setAttribute("aria-expanded", String(!help.hidden));
            },
          },
        })
      : null;
    const row = make("div.row", { data: { name: field.name } }, make("div.row-head", {}, label, more), control, help, error);
    this.#fields.set(field.name, { field, read, write, error, row });
    return row;
  }

  #control(field, id, helpId) {
    const kind = {
      choice: () => this.#choice(field, id),
      losses: () => this.#losses(field, id),
      switch: () => tick(field, id),
      number: () => (field.name in SLIDERS ? slider(field, id) : typed(field, id, "decimal")),
    }[field.kind];
    const made = kind ? kind() : typed(field, id, field.kind === "integer" ? "numeric" : "text");
    (made.input ?? made.control).setAttribute("aria-describedby", helpId);
    return made;
  }

  #choice(field, id) {
    const options = field.choices.map((value) => new Option(WORDS[field.name]?.[value] ?? String(value), value));
    if (field.default == null) options.unshift(new Option("auto", ""));
    const control = make("select", { id }, ...options);
    const write = (value) => (control.value = value ?? "");
    write(field.default);
    return { control, write, read: () => (control.value === "" ? null : control.value) };
  }

  #losses(field, id) {
    const control = make("div.losses", { id, role: "group", "aria-labelledby": `${id}-label` });
    const lines = field.choices.map((name) => {
      const box = make("input", { type: "checkbox", id: `${id}-${name}` });
      const factor = make("input", { type: "number", min: 0, step: "any", value: 1, "aria-label": `Factor of ${name}` });
      box.addEventListener("change", () => (factor.disabled = !box.checked));
      control.append(make("div.loss", {}, box, make("label", { htmlFor: box.id, textContent: name }), factor));
      return { name, box, factor };
    });
    const write = (values) => {
      const told = new Map([].concat(values ?? []).map((text) => String(text).split(":")));
      for (const { name, box, factor } of lines) {
        box.checked = told.has(name);
        factor.disabled = !box.checked;
        factor.value = Number(told.get(name) ?? 1);
      }
    };
    write(field.default);
    const read = () =>
      lines
        .filter(({ box }) => box.checked)
        .map(({ name, factor }) => (Number(factor.value) === 1 ? name : `${name}:${factor.value}`));
    return { control, read, write, isGroup: true };
  }

  /** The help of the command line, with its flags by the names that they have here. */
  #words(help) {
    return help.replace(/--([a-z][a-z0-9-]*)/g, (_, flag) => this.labels.get(flag.replaceAll("-", "_")) ?? flag.replaceAll("-", " "));
  }

  #show() {
    const isApply = this.mode === "apply";
    const isPaper = this.measure === "paper";
    if (this.modelRow) this.modelRow.hidden = !isApply;
    // A network that was trained for it paints the photograph as large as it is.
    for (const part of [this.measureChoice, this.look, this.more]) if (part) part.hidden = isApply;
    this.sizePart.hidden = isApply || isPaper;
    this.paperPart.hidden = isApply || !isPaper;
    this.dispatchEvent(new Event("change"));
  }

  /** What differs from the defaults, as a job has it. */
  values() {
    if (this.mode === "apply") {
      return { options: {}, print: null, deliver: null, format: "png", mode: "apply", model: this.model.value };
    }
    const options = {};
    const print = {};
    for (const [name, { field, read }] of this.#fields) {
      const value = read();
      const isPrint = PRINT.includes(name) || field.group === "print";
      if (name === "paper") print.paper = value;
      else if (same(value, field.default) || (name === "size" && this.measure === "paper")) continue;
      else (isPrint ? print : options)[name] = value;
    }
    const { deliver, format } = FILES[this.file.value];
    return {
      options,
      print: this.measure === "paper" ? print : null,
      deliver,
      format,
      mode: "paint",
      model: null,
    };
  }

  /** Fill in what a variation changes; the rest stays. */
  fill(options, words) {
    for (const [name, value] of Object.entries(options)) this.#fields.get(name)?.write(value);
    if (words) announce(words);
    this.dispatchEvent(new Event("change"));
  }

  /** What is to be put back after a reload. */
  save() {
    const fields = Object.fromEntries([...this.#fields].map(([name, { read }]) => [name, read()]));
    return { fields, mode: this.mode, measure: this.measure, file: this.file.value, model: this.model?.value };
  }

  restore({ fields = {}, mode, measure, file, model }) {
    for (const [name, value] of Object.entries(fields)) this.#fields.get(name)?.write(value);
    if (this.modeChoice && mode) this.mode = check(this.modeChoice, mode);
    if (this.measureChoice && measure) this.measure = check(this.measureChoice, measure);
    if (file in FILES) this.file.value = file;
    if (this.models.includes(model)) this.model.value = model;
    this.#show();
  }

  /** Show an error beside the option that it is of; false if it is of none. */
  blame(name, text) {
    const blamed = this.#fields.get(name);
    if (!blamed) return false;
    blamed.row.closest("details")?.setAttribute("open", "");
    tell(blamed.error, text);
    blamed.row.scrollIntoView({ block: "center" });
    blamed.row.querySelector("input, select")?.focus();
    return true;
  }

  forgive() {
    for (const { error } of this.#fields.values()) tell(error, null);
  }
}

function typed(field, id, mode) {
  const isList = Array.isArray(field.default);
  const control = make("input", { id, type: "text", inputMode: mode, autocomplete: "off", spellcheck: false });
  const write = (value) => (control.value = [].concat(value ?? []).join(", "));
  write(field.default);
  control.placeholder = control.value ? "" : "auto";
  const read = () => {
    const text = control.value.trim();
    if (isList) return text ? text.split(/[\s,]+/).map(numeric) : [];
    return text ? numeric(text) : null;
  };
  if (!field.suggestions) return { control, read, write };
  const list = make("datalist", { id: `${id}-list` }, ...field.suggestions.map((text) => make("option", { value: text })));
  control.setAttribute("list", list.id);
  return { control: make("div.typed", {}, control, list), input: control, read, write };
}

/** A number with a slider beside it: by factors about the default, or from 0 to the most. */
function slider(field, id) {
  const { factor, most, ends } = SLIDERS[field.name];
  const number = make("input", { id, type: "text", inputMode: "decimal", autocomplete: "off" });
  const range = make("input", { type: "range", "aria-label": `${field.label}, ${ends[0]} to ${ends[1]}` });
  Object.assign(range, factor ? { min: -Math.log2(factor), max: Math.log2(factor), step: 0.25 } : { min: 0, max: most, step: 0.05 });
  const toNumber = (at) => (factor ? Number((field.default * 2 ** at).toPrecision(3)) : at);
  const toRange = (value) => (factor ? Math.log2(Math.max(value, 1e-9) / field.default) : value);
  const write = (value) => {
    number.value = value ?? "";
    range.value = toRange(Number(value ?? 0));
  };
  range.addEventListener("input", () => (number.value = toNumber(Number(range.value))));
  number.addEventListener("input", () => Number.isNaN(Number(number.value)) || (range.value = toRange(Number(number.value))));
  write(field.default);
  const control = make(
    "div.slider",
    {},
    number,
    make("div.slide", {}, range, make("div.ends", { "aria-hidden": "true" }, ...ends.map((text) => make("span", { textContent: text })))),
  );
  const read = () => {
    const text = number.value.trim();
    if (!text) return field.default;
    return numeric(text);
  };
  return { control, input: number, read, write };
}

function tick(field, id) {
  const control = make("input", { id, type: "checkbox", checked: Boolean(field.default) });
  return { control, read: () => control.checked, write: (value) => (control.checked = Boolean(value)) };
}

/** Two or three choices side by side. */
export function segments(legend, choices) {
  const name = newId("choice");
  return make(
    "fieldset.segments",
    {},
    make("legend.unseen", { textContent: legend }),
    ...choices.map(([value, text], place) =>
      make("label", {}, make("input", { type: "radio", name, value, checked: place === 0 }), make("span", { textContent: text })),
    ),
  );
}

function check(choice, value) {
  for (const input of choice.querySelectorAll("input")) input.checked = input.value === value;
  return value;
}

function grouped(fields) {
  const groups = new Map();
  for (const field of fields) groups.set(field.group, [...(groups.get(field.group) ?? []), field]);
  return groups;
}

/** A number if it is one, else the text: the server says what is wrong with it. */
const numeric = (text) => (text && !Number.isNaN(Number(text)) ? Number(text) : text);
const same = (one, other) => JSON.stringify(one ?? null) === JSON.stringify(other ?? null);
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
