// The page: its parts, and what joins them.

import { get, post } from "./api.js";
import { find, inBytes, tell, working } from "./dom.js";
import { Look } from "./look.js";
import { Make } from "./make.js";
import { Options } from "./options.js";
import { Pictures } from "./pictures.js";
import { Runs } from "./runs.js";
import { Take } from "./take.js";
import { Watch } from "./watch.js";

/** The address keeps the run that is looked at, so links within the page only move it. */
function stayAtRun() {
  for (const link of document.querySelectorAll('a[href^="#"]')) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const part = document.querySelector(link.getAttribute("href"));
      part.scrollIntoView();
      part.focus({ preventScroll: true });
    });
  }
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) links.get(target.id).setAttribute("aria-current", "true");
        else links.get(target.id).removeAttribute("aria-current");
      }
    },
    { rootMargin: "-30% 0px -65% 0px" },
  );
  for (const part of document.querySelectorAll("main > section")) seen.observe(part);
}

function offerSamples(pictures) {
  const button = find("samples");
  button.hidden = false;
  button.addEventListener("click", () =>
    working(button, find("make-error"), async () => {
      const { content, styles } = await post("/api/samples");
      pictures.set(content, styles.map((picture) => ({ picture, weight: 1 })));
    }),
  );
}

async function start() {
  stayAtRun();
  const runs = new Runs();
  const connection = find("connection");
  runs.addEventListener("connection", () => {
    connection.textContent = runs.connected ? "" : "The server does not answer; trying again …";
  });
  new Watch(find("run"), find("queue"), runs);
  new Look(find("viewer"), runs);
  new Take(find("files"), find("gallery"), runs);
  const pictures = new Pictures(find("content"), find("styles"));
  try {
    const form = await get("/api/form");
    const options = new Options(find("options"), form);
    const { bytes, pixels } = form.limits ?? {};
    if (bytes && pixels) {
      pictures.mostBytes = bytes;
      find("machine").textContent = `Runs on this machine; nothing leaves it. Pictures may have ${inBytes(bytes)} and ${Math.round(pixels / 1e6)} megapixels.`;
    }
    offerSamples(pictures);
    new Make(pictures, options, runs);
  } catch (error) {
    tell(find("make-error"), error.message);
  }
  await runs.start();
  document.body.dataset.ready = "true";
}

void start();
