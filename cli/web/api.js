// The server's API: JSON, streams of events, and errors in the server's own words.

let key = null;
try {
  key = sessionStorage.getItem("tq.key") ?? localStorage.getItem("tq.key");
} catch {
  // no storage: the key lives as long as the page
}

export const hasKey = () => Boolean(key);

/** Keeps the key for this tab, or with `stay` on this computer. An empty one is forgotten. */
export function setKey(text, stay) {
  key = text || null;
  try {
    sessionStorage.removeItem("tq.key");
    localStorage.removeItem("tq.key");
    if (key) (stay ? localStorage : sessionStorage).setItem("tq.key", key);
  } catch {
    // as above
  }
}

/** What went wrong. `status` 0: the server was not reached. */
export class ApiError extends Error {
  constructor(message, status, code, retryAfter) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

const listeners = { key: [], gone: [], back: [] };
export const on = (event, call) => listeners[event].push(call);
const tell = (event, detail) => listeners[event].forEach((call) => call(detail));

let gone = false;

/** The response of a request that went well. */
export async function request(path, { body, signal } = {}) {
  const headers = {};
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    gone = true;
    tell("gone");
    throw new ApiError("The server does not answer. It may have been stopped, or the network is down.", 0);
  }
  if (gone) {
    gone = false;
    tell("back");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response) {
  const text = await response.text().catch(() => "");
  let message = text.trim() || `HTTP ${response.status} ${response.statusText}`;
  let code = null;
  try {
    const { error } = JSON.parse(text);
    message = typeof error === "string" ? error : error.message;
    code = error.code ?? null;
  } catch {
    // no JSON: the text says it
  }
  const wait = Number(response.headers.get("retry-after"));
  const error = new ApiError(message, response.status, code, wait > 0 ? wait : undefined);
  if (response.status === 401) tell("key", error);
  return error;
}

export const json = async (path, options) => (await request(path, options)).json();
export const text = async (path, options) => (await request(path, options)).text();

/** The events of a streamed answer; `opened` is called with the response before the first. */
export async function* stream(path, body, signal, opened) {
  const response = await request(path, { body, signal });
  opened?.(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      let part;
      try {
        part = await reader.read();
      } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new ApiError("The connection broke before the answer was complete.", 0);
      }
      if (part.done) break;
      const lines = (rest + part.value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data: ")) continue;
        const data = line.slice(6);
        if (data === "[DONE]") return;
        const event = JSON.parse(data);
        if (event.error) throw new ApiError(event.error.message, 200, event.error.code);
        yield event;
      }
    }
    throw new ApiError("The answer ended before it was complete.", 0);
  } finally {
    reader.cancel().catch(() => {});
  }
}
