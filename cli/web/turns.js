// One turn of a conversation as it is shown.

import { copy, h } from "./dom.js";
import { Markdown } from "./markdown.js";
import { count, rate, time } from "./format.js";

/** The node of a turn, and `update` for when it has grown. `act` has what its buttons do. */
export function turnView(turn, act) {
  const body = h("div", { class: "body" });
  const status = h("p", { class: "status", hidden: true });
  const notes = h("div", { class: "notes" });
  const buttons = h("div", { class: "actions" });
  const who = turn.role === "user" ? "You" : turn.role === "tool" ? "Tool" : turn.model || "Assistant";
  const name = h("h2", { class: "who" }, who);
  const node = h("article", { class: `turn ${turn.role}`, "aria-label": who }, name, body, status, notes, buttons);

  const parts = turn.role === "assistant" ? answerParts(turn, act, body) : [questionPart(turn, body)];
  const update = () => {
    if (turn.role === "assistant" && turn.model) name.textContent = turn.model;
    for (const part of parts) part();
    status.hidden = !turn.status;
    status.textContent = turn.status ?? "";
    notes.replaceChildren(...remarks(turn, act));
    if (!turn.running) buttons.replaceChildren(...actions(turn, act, node));
  };
  update();
  return { node, update };
}

function questionPart(turn, body) {
  return () => {
    const pictures = (turn.images ?? []).map((src, i) => h("img", { src, alt: `Attached image ${i + 1}` }));
    body.replaceChildren(h("div", { class: "plain" }, turn.content), h("div", { class: "pictures" }, pictures));
  };
}

function answerParts(turn, act, body) {
  const thoughts = h("div", { class: "thoughts" });
  const fold = h("details", { class: "reasoning", hidden: true }, h("summary", {}, "Reasoning"), thoughts);
  const text = h("div", { class: "text" });
  const calls = h("div", { class: "calls" });
  body.append(fold, text, calls);
  const reasoning = new Markdown(thoughts);
  const content = new Markdown(text);
  let drawnReasoning = "";
  let drawnContent = "";
  let drawnCalls = "";
  return [
    () => {
      if (!turn.reasoning || drawnReasoning === turn.reasoning) return;
      fold.hidden = false;
      reasoning.update((drawnReasoning = turn.reasoning));
    },
    () => {
      if (drawnContent === turn.content) return;
      content.update((drawnContent = turn.content));
    },
    () => {
      const now = JSON.stringify([turn.calls, turn.running, act.results?.(turn)]);
      if (!turn.calls?.length || drawnCalls === now) return;
      drawnCalls = now;
      calls.replaceChildren(...turn.calls.map((call) => callView(turn, call, act)));
    },
  ];
}

/** A tool call, with a field for what came of it while it has no result. */
function callView(turn, call, act) {
  const open = !turn.running && act.isOpen(turn, call);
  const result = h("textarea", { rows: 2, class: "mono", "aria-label": `Result of ${call.name}` });
  const form = h(
    "form",
    { class: "result", onsubmit: (event) => (event.preventDefault(), act.result(turn, call, result.value)) },
    result,
    h("button", { class: "quiet" }, "Give this result"),
  );
  return h(
    "div",
    { class: "call" },
    h("div", { class: "code-head" }, h("span", {}, "Tool call: ", h("b", {}, call.name || "…"))),
    h("pre", { tabindex: 0 }, h("code", {}, pretty(call.arguments))),
    open && form,
  );
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // not complete yet, or not what it should be
  }
}

const FINISH = { length: "The answer was cut: the context is full, or the limit of tokens was reached.", content_filter: "The answer was withheld." };

function remarks(turn, act) {
  const out = [];
  if (turn.loaded) out.push(h("p", { class: "note" }, `The model was loaded for this answer: ${turn.loaded}`));
  if (turn.error) {
    out.push(
      h("p", { class: "error", role: "alert" }, h("span", {}, turn.error), !turn.running && h("button", { type: "button", class: "quiet", onclick: () => act.retry(turn) }, "Try again")),
    );
  }
  if (turn.stopped) out.push(h("p", { class: "note" }, "Stopped."));
  if (FINISH[turn.finish]) out.push(h("p", { class: "note" }, FINISH[turn.finish]));
  if (turn.timings) out.push(speed(turn));
  return out;
}

function speed({ timings, waited, kv }) {
  const parts = [
    `${rate(timings.predicted_per_second)} tok/s`,
    `${count(timings.predicted_n)} tokens`,
    `prompt ${count(timings.prompt_n)} tok in ${time(timings.prompt_ms)}${timings.cache_n ? `, ${count(timings.cache_n)} cached` : ""}`,
    waited >= 0 && `first token ${time(waited)}`,
    kv && `KV ${kv}`,
  ];
  return h("p", { class: "speed" }, parts.filter(Boolean).map((part) => h("span", {}, part)));
}

function actions(turn, act, node) {
  const button = (label, call, what) => h("button", { type: "button", class: "quiet", "aria-label": what, onclick: call }, label);
  const copying = (event) => copy(turn.content, event.currentTarget);
  if (turn.role === "user") return [button("Edit", () => editor(turn, act, node), "Edit this message"), button("Copy", copying, "Copy this message")];
  if (turn.role === "assistant") return [button("Retry", () => act.retry(turn), "Retry this answer"), button("Copy", copying, "Copy this answer")];
  return [];
}

/** Puts a text box in the place of a question. */
export function editor(turn, act, node) {
  const field = h("textarea", { rows: Math.min(12, turn.content.split("\n").length + 1), value: turn.content, "aria-label": "Edited message" });
  const body = node.querySelector(".body");
  const before = [...body.childNodes];
  const close = () => {
    body.replaceChildren(...before);
    node.querySelector(".actions").hidden = false;
    node.querySelector(".actions button")?.focus();
  };
  const send = () => field.value.trim() && act.edit(turn, field.value);
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      send();
    }
  });
  const buttons = h(
    "div",
    { class: "buttons" },
    h("button", { type: "button", onclick: close }, "Cancel"),
    h("button", { type: "button", class: "primary", onclick: send }, "Send"),
  );
  body.replaceChildren(field, h("p", { class: "note" }, "What follows is replaced by the new answer; it can be brought back until the next message."), buttons);
  node.querySelector(".actions").hidden = true;
  field.focus();
}
