// How much of the context a conversation takes, and of the cache.

import { $ } from "./dom.js";
import { bytes, count, mebibytes } from "./format.js";
import * as model from "./model.js";

/** Shows it as the last complete answer says. */
export function drawMeter({ turns }) {
  const props = model.state.props;
  const last = turns.findLast((turn) => turn.usage);
  const used = last ? last.usage.prompt_tokens + last.usage.completion_tokens : 0;
  const limit = props?.default_generation_settings?.n_ctx;
  const text = $("meter-text");
  const meter = $("meter");
  if (!limit) {
    text.textContent = props ? "The model is not loaded; a message loads it." : "The server has not said what it serves.";
    meter.hidden = true;
    return;
  }
  const share = Math.min(100, (100 * used) / limit);
  meter.hidden = false;
  meter.setAttribute("aria-valuenow", Math.round(share));
  meter.firstElementChild.style.width = `${share}%`;
  meter.classList.toggle("full", share > 90);
  const parts = [`${count(used)} of ${count(limit)} tokens`];
  const { bytes_per_token: each, bytes_per_token_f16: plain } = props.kv ?? {};
  if (each) parts.push(`KV ${mebibytes(used * each)}`);
  if (each && plain) parts.push(`f16 would take ${mebibytes(used * plain)} (${(plain / each).toFixed(1)}×)`);
  const shown = parts.join(" · ");
  text.textContent = shown;
  meter.setAttribute("aria-valuetext", shown);
  text.title = each
    ? `One token takes ${bytes(each)} of the KV cache${plain ? `, in f16 it would take ${bytes(plain)}` : ""}. The whole context of ${count(limit)} tokens: ${bytes(limit * each)}${plain ? ` instead of ${bytes(limit * plain)}` : ""}.`
    : "";
}
