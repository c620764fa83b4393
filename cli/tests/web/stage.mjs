// A server between the browser and the real one: it passes everything on, but for what a check has written a script for. So the
// page and its headers are the real ones, and answers that must be exact, slow, hostile or wrong are played.

import { createServer, request as ask } from "node:http";
import { readFileSync } from "node:fs";

const KINDS = { js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8", svg: "image/svg+xml" };

export class Stage {
  /** `folder`: take the files of the page from there, to work on them without building. */
  constructor(upstream, folder) {
    this.upstream = new URL(upstream);
    this.folder = folder;
    this.reset();
  }

  reset() {
    this.routes = new Map();
    this.seen = [];
  }

  /** Answers requests for `path` with `play(request, response, body)` from now on. */
  on(path, play) {
    this.routes.set(path, play);
  }

  /** Answers requests for `path` with JSON. */
  json(path, value, status = 200, headers = {}) {
    this.on(path, (_, response) => {
      response.writeHead(status, { "content-type": "application/json", ...headers });
      response.end(JSON.stringify(value));
    });
  }

  /** The bodies of the chats so far. */
  chats() {
    return this.seen.filter(({ path }) => path === "/v1/chat/completions").map(({ body }) => JSON.parse(body));
  }

  async open() {
    this.server = createServer((request, response) => this.serve(request, response));
    await new Promise((ready) => this.server.listen(0, "127.0.0.1", ready));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  async close() {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  async serve(request, response) {
    let body = "";
    for await (const part of request.setEncoding("utf8")) body += part;
    const path = new URL(request.url, "http://x").pathname;
    this.seen.push({ path, method: request.method, body });
    const play = this.routes.get(path) ?? this.routes.get("*");
    if (play && (await play(request, response, body)) !== "pass") return;
    if (this.folder && (path === "/" || path.startsWith("/web/"))) return this.file(path, response);
    const { hostname, port } = this.upstream;
    const on = ask({ hostname, port, path: request.url, method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    on.on("error", () => response.destroy());
    response.on("close", () => on.destroy());
    on.end(body);
  }

  file(path, response) {
    const name = path === "/" ? "index.html" : path.slice("/web/".length);
    const kind = KINDS[name.split(".").at(-1)] ?? "text/html; charset=utf-8";
    const policy =
      "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; " +
      "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
    response.writeHead(200, { "content-type": kind, "content-security-policy": policy });
    response.end(readFileSync(`${this.folder}/${name}`));
  }
}

const chunk = (fields) => `data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "turbotiny", ...fields })}\n\n`;
const delta = (delta, finish_reason = null) => chunk({ choices: [{ index: 0, delta, finish_reason }] });

const USAGE = { prompt_tokens: 1000, completion_tokens: 24, total_tokens: 1024, prompt_tokens_details: { cached_tokens: 0 } };
const TIMINGS = { cache_n: 200, prompt_n: 800, prompt_ms: 400, prompt_per_second: 2000, predicted_n: 24, predicted_ms: 500, predicted_per_second: 48 };

/** An event that tells how far the prompt is read. */
export const progress = (processed, total) =>
  chunk({ choices: [{ index: 0, delta: {}, finish_reason: null }], prompt_progress: { total, cache: 0, processed, time_ms: 1 } });

/** A script that streams an answer. `pieces`: texts, deltas, or whole events; `pause`: milliseconds between them; `hang`: never ends. */
export function answer(pieces, { pause = 0, hang = false, finish = "stop", error, left } = {}) {
  return async (_, response) => {
    response.on("close", () => left?.(response.writableFinished));
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(delta({ role: "assistant", content: "" }));
    for (const piece of pieces) {
      if (response.destroyed) return;
      if (typeof piece !== "string") response.write(delta(piece));
      else response.write(piece.startsWith("data: ") ? piece : delta({ content: piece }));
      if (pause) await new Promise((wake) => setTimeout(wake, pause));
    }
    if (hang) return;
    if (error) {
      response.end(`data: ${JSON.stringify({ error })}\n\n`);
      return;
    }
    response.write(delta({}, finish));
    response.write(chunk({ choices: [], usage: USAGE, timings: TIMINGS }));
    response.end("data: [DONE]\n\n");
  };
}
