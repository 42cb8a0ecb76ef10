/** The way to the service: the key, requests, and streams of events. */

const BASE = new URL("../", import.meta.url);
const STORED = "robotchat.key";

/** An answer that is an error, as any family of endpoints words it. */
export class Refused extends Error {
  constructor(status, body) {
    const said = body?.error && typeof body.error === "object" ? body.error : body ?? {};
    super(said.message ?? said.detail ?? said.title ?? `HTTP ${status}`);
    this.status = status;
    this.code = said.code ?? String(status);
  }
}

/** The key: given once in the address, behind the #, which is never sent; then kept by this tab. */
export const key = {
  get: () => sessionStorage.getItem(STORED),
  set: (value) => sessionStorage.setItem(STORED, value),
  forget: () => sessionStorage.removeItem(STORED),
  /** Takes it out of the address, before anything else can see it there. */
  take() {
    const given = new URLSearchParams(location.hash.slice(1)).get("key");
    if (given === null) return;
    history.replaceState(null, "", location.pathname + location.search);
    if (given) key.set(given);
  },
};

export const address = (path) => new URL(path.replace(/^\//, ""), BASE).href;

function send(path, { method = "GET", body, headers = {}, signal } = {}) {
  const sent = { ...headers };
  if (key.get()) sent.Authorization = `Bearer ${key.get()}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  return fetch(address(path), {
    method,
    headers: sent,
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
    cache: "no-store",
    credentials: "omit",
    referrerPolicy: "no-referrer",
  });
}

async function refusal(response) {
  const text = await response.text();
  try {
    return new Refused(response.status, JSON.parse(text));
  } catch {
    return new Refused(response.status, null);
  }
}

/** A request and its answer as data. Throws Refused. */
export async function call(path, options) {
  const response = await send(path, options);
  if (!response.ok) throw await refusal(response);
  return response.status === 204 ? null : response.json();
}

/** As `call`, for what is asked again and again: null as long as nothing has changed. */
export async function changed(path, known) {
  const response = await send(path, { headers: known.tag ? { "If-None-Match": known.tag } : {} });
  if (response.status === 304) return null;
  if (!response.ok) throw await refusal(response);
  known.tag = response.headers.get("etag");
  return response.json();
}

/** The server-sent events of an answer, each {event, data, id}. Throws Refused. */
export async function* events(path, options = {}) {
  const response = await send(path, options);
  if (!response.ok) throw await refusal(response);
  if (response.status === 204) return;
  let left = "";
  for await (const piece of pieces(response.body)) {
    left += piece;
    const blocks = left.split(/\r?\n\r?\n/);
    left = blocks.pop();
    for (const block of blocks) {
      const found = parsed(block);
      if (found) yield found;
    }
  }
}

async function* pieces(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {}); // it may have broken off already
  }
}

function parsed(block) {
  const found = { event: "message", data: "", id: null };
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith("event:")) found.event = line.slice(6).trim();
    else if (line.startsWith("id:")) found.id = line.slice(3).trim();
    else if (line.startsWith("data:")) found.data += line.slice(5).trim();
  }
  if (!found.data || found.data === "[DONE]") return null;
  return { ...found, data: JSON.parse(found.data) };
}

const FINAL = new Set(["succeeded", "failed", "canceled", "expired"]);
/** 32 hexadecimal digits at random; `crypto.randomUUID` is not there for pages that came by plain HTTP. */
export function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const isFinal = (status) => FINAL.has(status);

/** Follows a job to its end: `tell` is given what is known of it, again with each piece of news. */
export async function follow(job, tell, signal) {
  let known = job;
  let last = null;
  let broken = 0;
  while (!signal.aborted) {
    try {
      const headers = last ? { "Last-Event-ID": last } : {};
      for await (const { event, data, id } of events(`/v1/jobs/${job.id}/events`, { headers, signal })) {
        broken = 0;
        last = id ?? last;
        if (event === "timeout") break;
        if (event === "error") throw new Refused(500, data);
        known = { ...known, ...data };
        tell(known);
        if (event === "done") return known;
      }
    } catch (error) {
      if (signal.aborted) return known;
      if (error instanceof Refused && error.status < 500 && error.status !== 429) throw error;
      if (++broken > 8) throw error;
    }
    await pause(Math.min(1000 * 2 ** broken, 15000), signal);
  }
  return known;
}

/** Waits, but no longer than until the signal. */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

/** Does something again and again until the signal, and only while somebody looks at the page. */
export async function repeat(seconds, signal, work) {
  while (!signal.aborted) {
    if (!document.hidden) await work();
    await pause(seconds * 1000, signal);
  }
}

const TAKEN = ["image/png", "image/jpeg", "image/webp"];

/** Uploads a picture straight into the store; gives its id. Others than PNG, JPEG and WebP become PNG. */
export async function upload(file) {
  const blob = TAKEN.includes(file.type) ? file : await asPng(file);
  const place = await call("/v1/uploads", {
    method: "POST",
    body: { content_type: blob.type, size: blob.size },
  });
  const answer = await fetch(place.url, {
    method: place.method,
    headers: { "Content-Type": place.headers["Content-Type"] },
    body: blob,
    credentials: "omit",
    referrerPolicy: "no-referrer",
  });
  if (!answer.ok) throw new Refused(answer.status, null);
  return place.id;
}

async function asPng(file) {
  const bitmap = await createImageBitmap(file);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
