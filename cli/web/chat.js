// The conversation that is open: sending, streaming, stopping, trying again.

import { $, announce, h, show } from "./dom.js";
import { ApiError, stream } from "./api.js";
import { count } from "./format.js";
import * as images from "./images.js";
import { drawMeter } from "./meter.js";
import * as model from "./model.js";
import * as settings from "./settings.js";
import * as store from "./store.js";
import { editor, turnView } from "./turns.js";

let talk = store.fresh(settings.last());
let views = new Map();
let running = null; // the AbortController of the answer that is written
let replaced = null; // turns that an edit or another try took the place of
let changed = () => {};

const KEEP_EVERY = 1000; // milliseconds, while an answer is written

export const current = () => talk;
export const isRunning = () => running !== null;

/** Opens a conversation; one that is being written is stopped. */
export function open(conversation) {
  stop();
  talk = conversation;
  // the page was closed while this was written
  for (const turn of talk.turns.filter((one) => one.running)) {
    delete turn.running;
    delete turn.status;
    turn.stopped = true;
  }
  replaced = null;
  images.taken();
  draw();
  scrollDown(true);
}

export function start(onChange) {
  changed = onChange;
  const box = $("message");
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit();
    }
  });
  box.addEventListener("input", () => fit(box));
  $("stop").addEventListener("click", stop);
  images.start();
  $("settings").addEventListener("click", changeSettings);
  model.onChange(() => drawMeter(talk));
  draw();
}

export async function changeSettings() {
  const defaults = model.state.props?.default_generation_settings?.params;
  const changedSettings = await settings.edit(talk.settings, defaults);
  if (!changedSettings) return;
  talk.settings = changedSettings;
  if (talk.turns.length) await keep();
}

function fit(box) {
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight + 2, window.innerHeight * 0.4)}px`;
}

async function submit() {
  const box = $("message");
  const content = box.value;
  if (running || (!content.trim() && !images.any())) return;
  box.value = "";
  fit(box);
  replaced = null;
  talk.turns.push({ role: "user", content, images: images.taken() });
  if (!talk.title) talk.title = content.trim().split("\n")[0].slice(0, 80) || "Image";
  draw();
  keep();
  await answer();
}

export function stop() {
  running?.abort();
}

/** Answers the turns there are. */
async function answer() {
  const mine = talk;
  const turn = { role: "assistant", content: "", reasoning: "", calls: [], model: model.state.id ?? "", running: true, status: "Waiting…" };
  let body;
  try {
    body = {
      ...settings.fields(mine.settings),
      ...(model.state.id && { model: model.state.id }),
      messages: messages(mine),
      stream: true,
      stream_options: { include_usage: true },
      return_progress: true,
    };
  } catch (error) {
    Object.assign(turn, { running: false, status: null, error: `The settings of this chat are wrong: ${error.message}` });
  }
  mine.turns.push(turn);
  draw();
  scrollDown(true);
  if (body) await write(mine, turn, body);
  delete turn.status;
  delete turn.running;
  if (talk === mine) {
    $("log").setAttribute("aria-busy", "false");
    draw();
    announce(turn.error ? "The answer failed." : turn.stopped ? "Stopped." : "The answer is complete.");
  }
  await keep(mine);
  // what was loaded, and how, may have changed with it
  model.refresh();
}

async function write(mine, turn, body) {
  const control = new AbortController();
  running = control;
  const begun = performance.now();
  let kept = begun;
  let frame = 0;
  const drawSoon = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      if (talk !== mine) return;
      const stay = atEnd();
      views.get(turn)?.update();
      if (stay) scrollDown(true);
    });
  };
  $("log").setAttribute("aria-busy", "true");
  drawControls();
  try {
    const opened = (response) => (turn.loaded = response.headers.get("x-turboquant-loaded") ?? undefined);
    for await (const event of stream("/v1/chat/completions", body, control.signal, opened)) {
      if (receive(turn, event) && turn.waited === undefined) {
        turn.waited = performance.now() - begun;
        turn.kv = model.kv() ?? undefined;
        delete turn.status;
      }
      drawSoon();
      if (performance.now() - kept > KEEP_EVERY) {
        kept = performance.now();
        store.put(mine);
      }
    }
  } catch (error) {
    if (error.name === "AbortError") turn.stopped = true;
    else if (error instanceof ApiError) turn.error = error.message + (error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "");
    else throw error;
  } finally {
    cancelAnimationFrame(frame);
    if (running === control) running = null;
    delete turn.status;
    turn.running = false;
    drawControls();
  }
}

/** Adds an event of the stream to its turn; true: something to read came. */
function receive(turn, event) {
  if (event.model) turn.model = event.model;
  if (event.usage) turn.usage = event.usage;
  if (event.timings) turn.timings = event.timings;
  const progress = event.prompt_progress;
  if (progress?.total > 0) turn.status = `Reading the prompt: ${Math.floor((100 * progress.processed) / progress.total)} % of ${count(progress.total)} tokens`;
  const choice = event.choices?.[0];
  if (!choice) return false;
  if (choice.finish_reason) turn.finish = choice.finish_reason;
  const { content, reasoning_content: thought, tool_calls: calls } = choice.delta ?? {};
  if (content) turn.content += content;
  if (thought) turn.reasoning += thought;
  for (const call of calls ?? []) {
    const known = (turn.calls[call.index] ??= { id: "", name: "", arguments: "" });
    if (call.id) known.id = call.id;
    if (call.function?.name) known.name = call.function.name;
    known.arguments += call.function?.arguments ?? "";
  }
  return Boolean(content || thought || calls?.length);
}

/** The conversation as the API takes it. Answers that failed before their first word are left out. */
function messages({ turns, settings: { system } }) {
  const out = system ? [{ role: "system", content: system }] : [];
  for (const turn of turns) {
    if (turn.role === "tool") {
      out.push({ role: "tool", tool_call_id: turn.call, content: turn.content });
    } else if (turn.role === "assistant") {
      if (!turn.content && !turn.calls?.length) continue;
      const message = { role: "assistant", content: turn.content || null };
      if (turn.calls?.length) {
        message.tool_calls = turn.calls.map((call) => ({ id: call.id, type: "function", function: { name: call.name, arguments: call.arguments } }));
        if (turn.reasoning) message.reasoning_content = turn.reasoning;
      }
      out.push(message);
    } else if (turn.images?.length) {
      const parts = turn.images.map((url) => ({ type: "image_url", image_url: { url } }));
      out.push({ role: "user", content: [...parts, { type: "text", text: turn.content }] });
    } else {
      out.push({ role: "user", content: turn.content });
    }
  }
  return out;
}

async function keep(conversation = talk) {
  conversation.updated = Date.now();
  await store.put(conversation);
  changed();
}

// What the buttons of turns do.
const act = {
  retry(turn) {
    if (running) return;
    cut(talk.turns.indexOf(turn));
    answer();
  },
  edit(turn, content) {
    if (running) return;
    const at = talk.turns.indexOf(turn);
    cut(at);
    talk.turns.push({ role: "user", content, images: turn.images ?? [] });
    if (at === 0) talk.title = content.trim().split("\n")[0].slice(0, 80);
    answer();
    $("message").focus();
  },
  isOpen: (turn, call) => talk.turns.at(-1) && talk.turns.includes(turn) && openCalls(turn).includes(call),
  results: (turn) => openCalls(turn).length,
  result(turn, call, content) {
    if (running) return;
    talk.turns.push({ role: "tool", call: call.id, content });
    draw();
    if (!openCalls(turn).length) answer();
    else keep();
  },
};

/** Calls of the last answer that have no result yet. */
function openCalls(turn) {
  const at = talk.turns.indexOf(turn);
  const after = talk.turns.slice(at + 1);
  if (at < 0 || after.some((other) => other.role !== "tool")) return [];
  return (turn.calls ?? []).filter((call) => !after.some((other) => other.call === call.id));
}

/** Takes the turns from `at` on away, so that they can be brought back. */
function cut(at) {
  replaced = talk.turns.slice();
  talk.turns.length = at;
}

function bringBack() {
  if (running || !replaced) return;
  talk.turns = replaced;
  replaced = null;
  draw();
  keep();
  $("message").focus();
}

export function retryLast() {
  const last = talk.turns.at(-1);
  if (last?.role === "assistant") act.retry(last);
}

export function editLast() {
  const turn = talk.turns.findLast((one) => one.role === "user");
  if (turn && !running) editor(turn, act, views.get(turn).node);
}

function draw() {
  const log = $("log");
  const stay = atEnd();
  const before = views;
  views = new Map();
  const nodes = talk.turns.map((turn) => {
    const view = before.get(turn) ?? turnView(turn, act);
    view.update();
    views.set(turn, view);
    return view.node;
  });
  if (!nodes.length) nodes.push(welcome());
  if (replaced && !running) {
    nodes.push(h("p", { class: "note undo" }, "What was here was replaced. ", h("button", { type: "button", class: "quiet", onclick: bringBack }, "Bring it back")));
  }
  log.replaceChildren(...nodes);
  if (stay) scrollDown(true);
  drawControls();
  drawMeter(talk);
}

function welcome() {
  return h(
    "div",
    { class: "welcome" },
    h("h2", {}, "A chat with the model on this server"),
    h("p", {}, "Nothing leaves it: conversations are kept in this browser, and the page loads nothing from elsewhere. ", h("kbd", {}, "?"), " lists the shortcuts."),
  );
}

function drawControls() {
  // a button that vanishes must not take the focus with it
  if (!running && document.activeElement === $("stop")) $("message").focus();
  show($("send"), !running);
  show($("stop"), running !== null);
}

const atEnd = () => {
  const log = $("log");
  return log.scrollHeight - log.scrollTop - log.clientHeight < 60;
};

function scrollDown(now) {
  const log = $("log");
  log.scrollTo({ top: log.scrollHeight, behavior: now ? "instant" : "smooth" });
}
