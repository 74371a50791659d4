// What the server is asked. Its refusals are one line each, to be shown beside what caused them.

const SAFE = { "X-Hires": "1" }; // other sites' pages cannot send it

export class Refusal extends Error {
  constructor(message, status = 0, field = null) {
    super(message);
    this.status = status;
    this.field = field;
  }
}

function refused(status, body) {
  return new Refusal(body?.error ?? `The server answered ${status}.`, status, body?.field ?? null);
}

async function ask(path, settings = {}) {
  let response;
  try {
    response = await fetch(path, settings);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server does not answer. Is hires serve still running?");
  }
  const body = await response.json().catch(() => null);
  if (!response.ok) throw refused(response.status, body);
  return body;
}

export const get = (path, signal) => ask(path, { signal });

export const post = (path, body = {}) =>
  ask(path, {
    method: "POST",
    headers: { ...SAFE, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });

/**
 * Send a picture.
 *
 * @param {Blob} file with a name, if it has one.
 * @param {"content"|"style"|"mask"} kind
 * @param {(share: number) => void} onProgress
 */
export function upload(file, kind, onProgress = () => {}) {
  const about = new URLSearchParams({ kind, name: file.name ?? `${kind}.png` });
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/pictures?${about}`);
    for (const [name, value] of Object.entries(SAFE)) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () =>
      request.status < 300 ? resolve(request.response) : reject(refused(request.status, request.response));
    request.onerror = () => reject(new Refusal("The picture could not be sent. Is hires serve still running?"));
    request.send(file);
  });
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Ask again and again until something is done; every answer is shown. */
export async function follow(path, signal, show = () => {}) {
  for (let wait = 300; ; wait = Math.min(wait * 1.3, 2000)) {
    const answer = await get(path, signal);
    if (signal?.aborted) throw new DOMException("no longer asked", "AbortError");
    if (answer.state === "failed") throw new Refusal(answer.error ?? "It failed.", 0, answer.field ?? null);
    show(answer);
    if (answer.state === "done") return answer;
    await pause(wait);
  }
}
