// How a chat is answered: system prompt, sampling, tools. Empty fields are left to the server.

import { h } from "./dom.js";
import { ask } from "./dialogs.js";

const NUMBERS = [
  ["temperature", "Temperature", 0, 100, 0.05],
  ["top_p", "Top p", 0, 1, 0.01],
  ["top_k", "Top k", -1, 1000000, 1],
  ["min_p", "Min p", 0, 1, 0.01],
  ["repeat_penalty", "Repeat penalty", 0.01, 100, 0.01],
  ["presence_penalty", "Presence penalty", -2, 2, 0.1],
  ["max_tokens", "Tokens at most", 1, 1000000000, 1],
  ["seed", "Seed", 0, 4294967295, 1],
];

/** Settings of new chats: those that were used last. */
export function last() {
  try {
    return JSON.parse(localStorage.getItem("tq.settings")) ?? {};
  } catch {
    return {};
  }
}

/** The fields that these settings put into a request. */
export function fields(settings) {
  const out = {};
  for (const [name] of NUMBERS) if (Number.isFinite(settings[name])) out[name] = settings[name];
  if (settings.think === "off") out.think = false;
  if (settings.think === "on") out.think = true;
  const tools = settings.tools?.trim();
  if (tools) out.tools = JSON.parse(tools);
  return out;
}

/** What is wrong with a definition of tools; "": nothing. */
function wrongTools(text) {
  if (!text.trim()) return "";
  try {
    const tools = JSON.parse(text);
    if (Array.isArray(tools) && tools.every((tool) => tool?.type === "function" && typeof tool.function?.name === "string")) return "";
    return 'Tools are a JSON array of {"type": "function", "function": {"name": ..., "parameters": ...}}.';
  } catch (error) {
    return `The tools are no JSON: ${error.message}`;
  }
}

/** Shows them; resolves with the changed ones, or null. */
export async function edit(settings, defaults) {
  const system = h("textarea", { rows: 4, value: settings.system ?? "", placeholder: "None" });
  const inputs = NUMBERS.map(([name, label, min, max, step]) => {
    const usual = name === "seed" ? "random" : name === "max_tokens" ? "no limit" : defaults?.[name];
    const shown = typeof usual === "number" ? String(Number(usual.toPrecision(4))) : usual;
    const props = { type: "number", min, max, step: Number.isInteger(step) ? step : "any", placeholder: shown, value: settings[name] ?? "" };
    return [name, label, h("input", props)];
  });
  const option = (value, label) => h("option", { value }, label);
  const think = h("select", {}, option("", "Default"), option("on", "On"), option("off", "Off"));
  think.value = settings.think ?? "";
  const tools = h("textarea", { rows: 4, class: "mono", spellcheck: "false", value: settings.tools ?? "", placeholder: '[{"type": "function", "function": {"name": "weather", "parameters": {…}}}]' });
  tools.addEventListener("input", () => tools.setCustomValidity(wrongTools(tools.value)));
  const field = (label, input) => h("label", { class: "field" }, h("span", {}, label), input);
  const content = [
    field("System prompt", system),
    h("div", { class: "grid" }, inputs.map(([, label, input]) => field(label, input)), field("Reasoning", think)),
    field("Tools (JSON). The model's calls are shown, and you say what came of them", tools),
    h("p", { class: "note" }, "Empty fields are left to the server, whose values are shown in grey. New chats begin with these settings."),
  ];
  if ((await ask("Settings of this chat", content, [["", "Cancel"], ["ok", "Save", "primary"]], { wide: true })) !== "ok") return null;
  const out = {};
  if (system.value.trim()) out.system = system.value;
  for (const [name, , input] of inputs) if (input.value !== "") out[name] = input.valueAsNumber;
  if (think.value) out.think = think.value;
  if (tools.value.trim()) out.tools = tools.value;
  try {
    localStorage.setItem("tq.settings", JSON.stringify(out));
  } catch {
    // they stay with the chat
  }
  return out;
}
