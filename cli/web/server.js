// The server at work: metrics as plots, slots as a table. Asks only while it is looked at.

import { $, h } from "./dom.js";
import { json, text } from "./api.js";
import { bytes, count, pair, rate, time } from "./format.js";
import { Plot } from "./plot.js";

const PAUSE = 2000;
const SAMPLES = 90; // three minutes

let seen = false;
let timer = 0;
let before = null;
let plots = null;

/** Samples of Prometheus' text format: name to a list of labels and values. */
export function readMetrics(document) {
  const found = new Map();
  for (const line of document.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value.replace(/\\(.)/g, "$1")]));
    const value = match[3] === "+Inf" ? Infinity : Number(match[3]);
    if (!found.has(match[1])) found.set(match[1], []);
    found.get(match[1]).push({ labels, value });
  }
  return found;
}

const sum = (metrics, name) => (metrics.get(name) ?? []).reduce((total, sample) => total + sample.value, 0);

/** The mean of what a histogram has counted since the last look; null: nothing. */
function mean(metrics, name) {
  if (!before) return null;
  const n = sum(metrics, `${name}_count`) - sum(before.metrics, `${name}_count`);
  return n > 0 ? (sum(metrics, `${name}_sum`) - sum(before.metrics, `${name}_sum`)) / n : null;
}

function build() {
  plots = {
    memory: new Plot("KV cache in use", bytes, SAMPLES, ["used"]),
    speed: new Plot("Tokens written per second", rate, SAMPLES, ["written"]),
    queue: new Plot("Slots at work and queue", count, SAMPLES, ["at work", "waiting"]),
    first: new Plot("Time to first token", (s) => time(1000 * s), SAMPLES, ["mean"]),
  };
  const all = Object.values(plots).map((plot) => plot.node);
  $("view-server").replaceChildren(
    h("h2", {}, "Server"),
    h("p", { id: "server-note", class: "note", role: "status" }),
    h("div", { class: "plots" }, all),
    h("h3", {}, "Models"),
    h("div", { id: "server-models", class: "scroll", tabindex: 0, role: "region", "aria-label": "Models in memory" }),
    h("h3", {}, "Slots"),
    h("div", { id: "server-slots", class: "scroll", tabindex: 0, role: "region", "aria-label": "Slots" }),
  );
}

async function look() {
  clearTimeout(timer);
  if (!seen || document.hidden) return;
  if (!plots) build();
  const note = $("server-note");
  const problems = [];
  const [metrics, slots] = await Promise.all([
    text("/metrics").then(readMetrics, (error) => void problems.push(error)),
    json("/slots").catch((error) => void problems.push(error)),
  ]);
  if (metrics) drawMetrics(metrics, slots);
  if (slots) drawSlots(slots);
  const said = problems.length ? [...new Set(problems.map((error) => error.message))].join(" ") : `Looked at every ${PAUSE / 1000} s while this is open.`;
  if (note.textContent !== said) note.textContent = said;
  // without a key it is in vain until the view is opened again
  if (!problems.some((error) => error.status === 401)) timer = setTimeout(look, PAUSE);
}

/** Tokens written since the server started: those of answers that have ended, and of those that are being written. */
function written(metrics, slots) {
  const running = (slots ?? []).filter((slot) => slot.is_processing);
  return running.reduce((total, slot) => total + slot.next_token.n_decoded, sum(metrics, "llamacpp:tokens_predicted_total"));
}

function drawMetrics(metrics, slots) {
  const now = performance.now();
  const seconds = before ? (now - before.at) / 1000 : 0;
  const used = sum(metrics, "turboquant_kv_bytes_used");
  const total = sum(metrics, "turboquant_kv_bytes_total");
  plots.memory.add([used], total, `${bytes(used)} of ${bytes(total)}`);

  const tokens = written(metrics, slots);
  const speed = before && seconds > 0 ? Math.max(0, tokens - before.tokens) / seconds : null;
  plots.speed.add([speed], 10, speed === null ? "…" : `${rate(speed)} tok/s`);

  const busy = sum(metrics, "turboquant_slots_busy");
  const all = sum(metrics, "turboquant_slots_total");
  const queued = sum(metrics, "turboquant_queued");
  plots.queue.add([busy, queued], all, `${busy} of ${all} slots, ${queued} waiting`);

  const first = mean(metrics, "turboquant_time_to_first_token_seconds");
  const n = sum(metrics, "turboquant_time_to_first_token_seconds_count");
  const overall = n > 0 ? `${time((1000 * sum(metrics, "turboquant_time_to_first_token_seconds_sum")) / n)} on average of ${count(n)}` : "no answers yet";
  plots.first.add([first], 0.05, overall);
  before = { metrics, tokens, at: now };

  const of = (name, model) => metrics.get(name)?.find((sample) => sample.labels.model === model)?.value;
  const rows = (metrics.get("turboquant_kv_cache_info") ?? []).map(({ labels: { model, type_k, type_v } }) => [
    model,
    pair(type_k, type_v),
    `${bytes(of("turboquant_kv_bytes_used", model))} of ${bytes(of("turboquant_kv_bytes_total", model))}`,
    `${count(of("turboquant_kv_cells_used", model))} of ${count(of("turboquant_kv_cells_total", model))}`,
    bytes(of("turboquant_model_bytes", model)),
    bytes(of("turboquant_prompt_cache_bytes", model)),
  ]);
  const head = ["Model", "KV", "KV in use", "Tokens", "Memory in all", "Kept prompts"];
  $("server-models").replaceChildren(rows.length ? table("Models in memory", head, rows) : h("p", { class: "note" }, "No model is loaded."));
}

function drawSlots(slots) {
  const rows = slots.map((slot) => {
    const [done, all] = [slot.n_prompt_tokens_processed, slot.n_prompt_tokens];
    const doing = !slot.is_processing ? "idle" : done < all ? `reading ${Math.floor((100 * done) / all)} %` : "writing";
    return [slot.id, slot.model, doing, count(slot.n_cached_tokens), slot.is_processing ? count(all) : "–", slot.is_processing ? count(slot.next_token.n_decoded) : "–"];
  });
  const head = ["Slot", "Model", "State", "Tokens held", "Prompt", "Written"];
  $("server-slots").replaceChildren(rows.length ? table("Slots", head, rows) : h("p", { class: "note" }, "No model is loaded, so there are no slots."));
}

export function table(caption, head, rows) {
  return h(
    "table",
    {},
    h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell))))),
  );
}

/** Looks from now on, or no more. */
export function watch(on) {
  seen = on;
  if (!on) before = null; // what happened meanwhile is no rate
  look();
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) before = null;
  look();
});
