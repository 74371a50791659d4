// A close-up of a painting, and where it lies in it.

import { make } from "./dom.js";

/** A close-up, and where it lies in the painting. */
export function closeupFigures({ picture, around, spot, size, whole }) {
  const share = (side) => `${(100 * size[side]) / whole[side]}%`;
  const edge = (side) => {
    const half = size[side] / whole[side] / 2;
    return `${100 * Math.min(Math.max(spot[side] - half, 0), 1 - 2 * half)}%`;
  };
  const frame = make("i.closeup-frame");
  Object.assign(frame.style, { height: share(0), width: share(1), top: edge(0), left: edge(1) });
  const figure = (text, ...inner) => make("figure", {}, ...inner, make("figcaption.caption", { textContent: text }));
  return make(
    "div.closeups",
    {},
    figure(
      `${size[1]} × ${size[0]} px of ${whole[1]} × ${whole[0]}: the strokes as they will be`,
      make("div.closeup-scroll", { tabIndex: 0, role: "group", "aria-label": "Close-up, pixel for pixel" }, make("img", { src: picture, alt: "The painting, close up" })),
    ),
    figure("where it lies", make("div.closeup-around", {}, make("img", { src: around, alt: "The painting so far" }), frame)),
  );
}
