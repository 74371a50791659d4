// Elements, words for numbers, and what a screen reader is told. Text is always text, never HTML.

const SVG = "http://www.w3.org/2000/svg";

export const find = (id) => document.getElementById(id);

/**
 * An element.
 *
 * @param {string} tag with classes after dots, such as "p.hint".
 * @param {object} properties of the element, or attributes; functions of "on" are listeners.
 * @param {...(Node|string|null)} children null is left out.
 */
export function make(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const made = document.createElement(name);
  if (classes.length) made.className = classes.join(" ");
  set(made, properties);
  made.append(...children.filter((child) => child != null));
  return made;
}

export function draw(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function set(element, properties) {
  const { on = {}, data = {}, ...rest } = properties;
  for (const [name, act] of Object.entries(on)) element.addEventListener(name, act);
  for (const [name, value] of Object.entries(data)) element.dataset[name] = value;
  for (const [name, value] of Object.entries(rest)) {
    if (value == null) continue;
    if (name in element && name !== "list" && name !== "role") element[name] = value;
    else element.setAttribute(name, value);
  }
}

let numIds = 0;
/** An id that no other element has. */
export const newId = (stem) => `${stem}-${++numIds}`;

/** Tell a screen reader. */
export function announce(text) {
  find("announcer").textContent = text;
}

/** Show one line of error, or take it away. */
export function tell(element, text) {
  element.textContent = text ?? "";
  element.hidden = !text;
}

/** Let a button work: it is busy meanwhile, and a refusal is told beside it. */
export async function working(button, place, act, words) {
  const before = button.textContent;
  button.setAttribute("aria-busy", "true");
  button.disabled = true;
  if (words) button.textContent = words;
  tell(place, null);
  try {
    return await act();
  } catch (error) {
    tell(place, error.message);
    return undefined;
  } finally {
    button.removeAttribute("aria-busy");
    button.disabled = false;
    if (words) button.textContent = before;
  }
}

export function inTime(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return "";
  if (seconds < 50) return `${Math.max(Math.round(seconds), 1)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.round(minutes / 1440)} days`;
}

export function inBytes(bytes) {
  if (bytes == null) return "";
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let power = 0;
  let value = bytes;
  for (; value >= 999.5 && power < units.length - 1; power++) value /= 1000;
  return `${value < 9.95 && power ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

export function inPixels(width, height) {
  const millions = (width * height) / 1e6;
  const told = `${width} × ${height} px`;
  return millions < 1 ? told : `${told}, ${millions < 9.95 ? millions.toFixed(1) : Math.round(millions)} megapixels`;
}

/** A size as the server tells it: a long side, or width and height. */
export function inSize(size) {
  return `${[].concat(size).join(" × ")} px`;
}

export function onDay(text) {
  const when = new Date(typeof text === "number" ? text * 1000 : text);
  if (!text || Number.isNaN(when.getTime())) return "";
  return when.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

export const percent = (share) => `${Math.round((share ?? 0) * 100)}%`;
