// The losses of a run as curves: logarithmic, each against the steps of all sizes together.

import { draw, make } from "./dom.js";

const HEIGHT = 180;
const HIDDEN = 0.02; // share of the least values that the scale leaves out
const EDGE = { left: 44, right: 10, top: 10, bottom: 22 };
const WORDS = { style: "style", content: "content", patch: "grain and edges", tv: "noise", detail: "fine drawing" };

/**
 * @param {HTMLElement} element emptied.
 * @param {{step: number, rung: number, terms: Object<string, number>}[]} trace steps count within their rung, from 1.
 * @param {{size: number, steps: number}[]} rungs
 */
export function showCurves(element, trace, rungs) {
  const names = [...new Set(trace.flatMap(({ terms }) => Object.keys(terms)))];
  const values = trace.flatMap(({ terms }) => Object.values(terms)).filter((value) => value > 0);
  if (trace.length < 2 || !values.length) {
    element.replaceChildren(make("p.hint", { textContent: "Losses appear here once there are some." }));
    return;
  }
  const width = Math.max(element.clientWidth, 240);
  const starts = rungs.map((_, i) => rungs.slice(0, i).reduce((sum, { steps }) => sum + steps, 0));
  const at = ({ rung, step }) => (starts[rung - 1] ?? 0) + step;
  const last = Math.max(rungs.reduce((sum, { steps }) => sum + steps, 0), at(trace.at(-1)));
  const x = (step) => EDGE.left + ((width - EDGE.left - EDGE.right) * step) / last;
  values.sort((one, other) => one - other);
  // Where a photograph is the start, its content loss begins at nothing: that is below the picture.
  const least = Math.floor(Math.log10(values[Math.floor(values.length * HIDDEN)]));
  const most = Math.max(Math.ceil(Math.log10(Math.max(...values))), least + 1);
  const y = (value) => {
    const share = Math.min((most - Math.log10(value)) / (most - least), 1);
    return EDGE.top + (HEIGHT - EDGE.top - EDGE.bottom) * share;
  };
  const graph = draw("svg", {
    viewBox: `0 0 ${width} ${HEIGHT}`,
    width,
    height: HEIGHT,
    class: "curves",
    role: "img",
    "aria-label": described(names, trace),
  });
  graph.append(...decades(least, most, y, width), ...borders(rungs, starts, x));
  names.forEach((name, place) => {
    const path = trace
      .filter(({ terms }) => terms[name] > 0)
      .map((line, i) => `${i ? "L" : "M"}${x(at(line)).toFixed(1)} ${y(line.terms[name]).toFixed(1)}`)
      .join("");
    graph.append(draw("path", { d: path, class: `curve curve-${place % 6}` }));
  });
  element.replaceChildren(graph, legend(names, trace));
}

function decades(least, most, y, width) {
  const lines = [];
  const every = Math.ceil((most - least) / 5);
  for (let power = least; power <= most; power += every) {
    const at = y(10 ** power);
    lines.push(draw("line", { x1: EDGE.left, x2: width - EDGE.right, y1: at, y2: at, class: "grid" }));
    const text = draw("text", { x: EDGE.left - 6, y: at + 4, "text-anchor": "end" });
    text.textContent = power >= -3 && power <= 3 ? String(Number((10 ** power).toPrecision(1))) : `1e${power}`;
    lines.push(text);
  }
  return lines;
}

function borders(rungs, starts, x) {
  return rungs.flatMap(({ size }, i) => {
    const at = x(starts[i]);
    const text = draw("text", { x: at + 4, y: HEIGHT - 7 });
    text.textContent = `${size} px`;
    return [draw("line", { x1: at, x2: at, y1: EDGE.top, y2: HEIGHT - 4, class: i ? "rung" : "grid" }), text];
  });
}

function legend(names, trace) {
  const now = trace.at(-1).terms;
  return make(
    "ul.legend",
    { "aria-label": "Losses" },
    ...names.map((name, place) => {
      const line = draw("svg", { width: 26, height: 10, "aria-hidden": "true" });
      line.append(draw("path", { d: "M0 5H26", class: `curve curve-${place % 6}` }));
      return make("li", {}, line, `${WORDS[name] ?? name} ${brief(now[name])}`);
    }),
  );
}

function described(names, trace) {
  const [first, last] = [trace[0].terms, trace.at(-1).terms];
  return `Losses, on a logarithmic scale. ${names.map((name) => `${name}: from ${brief(first[name])} to ${brief(last[name])}`).join("; ")}.`;
}

const brief = (value) => (value == null ? "" : Number(value.toPrecision(2)).toString());
