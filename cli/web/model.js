// Which model answers, how its cache is stored, and what the server says of both.

import { $, announce, h } from "./dom.js";
import { ApiError, json, request } from "./api.js";
import { banner, confirm } from "./dialogs.js";
import { pair } from "./format.js";

/** What is known. `props` are those of the chosen model. */
export const state = { models: [], id: null, props: null, busy: false };

const listeners = [];
export const onChange = (call) => listeners.push(call);
const changed = () => listeners.forEach((call) => call(state));

export const kv = () => (state.props?.kv ? pair(state.props.kv.type_k, state.props.kv.type_v) : null);
export const sees = () => Boolean(state.props?.modalities?.vision);

const AGAIN = 2000;
let timer = 0;
let asked = 0;

/** Asks the server. Errors are shown, and where waiting helps it is asked again. */
export async function refresh() {
  clearTimeout(timer);
  const mine = ++asked;
  try {
    const { data } = await json("/v1/models");
    const id = choose(data);
    const props = id ? await json(`/props?model=${encodeURIComponent(id)}`) : null;
    if (mine !== asked) return;
    Object.assign(state, { models: data, id, props });
    banner("");
    if (data.some((model) => model.status?.value === "loading")) timer = setTimeout(refresh, AGAIN);
  } catch (error) {
    if (mine !== asked) return;
    explain(error);
  }
  draw();
  changed();
}

function explain(error) {
  if (error.status === 503) {
    banner(error.message === "loading model" ? "The model is being loaded…" : error.message, refresh);
    timer = setTimeout(refresh, AGAIN);
  } else if (error.status === 0) {
    banner(error.message, refresh);
    // a hidden page asks when it is seen again
    if (!document.hidden) timer = setTimeout(refresh, AGAIN);
  } else if (error.status === 401) {
    banner("This server wants an API key.", () => $("key").click());
  } else {
    banner(error.message, refresh);
  }
}

/** The model that was chosen, else one that is loaded, else the first. */
function choose(models) {
  let wanted = state.id;
  try {
    wanted ??= localStorage.getItem("tq.model");
  } catch {
    // nothing was chosen
  }
  const known = models.find((model) => model.id === wanted);
  return (known ?? models.find((model) => model.status?.value === "loaded") ?? models[0])?.id ?? null;
}

function draw() {
  const model = $("model");
  model.replaceChildren(
    ...state.models.map((one) => h("option", { value: one.id }, one.status?.value === "loaded" ? one.id : `${one.id} (${one.status?.value ?? "?"})`)),
  );
  if (!state.models.length) model.append(h("option", {}, "no model"));
  model.value = state.id ?? "";
  model.disabled = state.busy || !state.models.length;

  const types = $("kv");
  const now = kv();
  const offered = supported();
  const alike = offered.filter((text) => !text.includes("/"));
  const group = (label, list) => list.length > 0 && h("optgroup", { label }, list.map((text) => h("option", { value: text }, text)));
  types.replaceChildren(...[group("K and V alike", alike), group("K / V", offered.filter((text) => text.includes("/")))].filter(Boolean));
  if (!offered.includes(now)) types.prepend(h("option", { value: now ?? "" }, now ?? "not loaded"));
  types.value = now ?? "";
  types.disabled = state.busy || !offered.length;
}

/** The pairs of types that every device of the server runs. */
function supported() {
  const devices = state.props?.kv?.supported ?? [];
  const [first, ...others] = devices.map((device) => device.pairs.map(([k, v]) => pair(k, v)));
  return (first ?? []).filter((text) => others.every((list) => list.includes(text)));
}

async function load(body, what) {
  state.busy = true;
  draw();
  banner(`${what}…`);
  announce(`${what}…`);
  try {
    const response = await request("/models/load", { body });
    const told = response.headers.get("x-turboquant-loaded");
    announce(told ? `Loaded: ${told}` : "It was loaded already.");
    state.id = body.model;
    try {
      localStorage.setItem("tq.model", body.model);
    } catch {
      // chosen for as long as the page
    }
    state.busy = false;
    await refresh();
  } catch (error) {
    state.busy = false;
    draw();
    if (!(error instanceof ApiError)) throw error;
    banner(`${what} failed. ${error.message}`, () => load(body, what));
  }
}

async function pickModel() {
  const id = $("model").value;
  const model = state.models.find((one) => one.id === id);
  const loaded = model?.status?.value === "loaded";
  const text = `${id} is not loaded. Loading takes a while, and idle models are unloaded if it needs their memory.`;
  if (!loaded && !(await confirm(`Load ${id}?`, text, "Load"))) return draw();
  return load({ model: id }, loaded ? `Switching to ${id}` : `Loading ${id}`);
}

async function pickKv() {
  const types = $("kv").value;
  const text =
    `${state.id} is loaded again with a KV cache of ${types}, for everybody who uses this server. Prompts that it has computed are ` +
    "computed anew; answers that are being written are waited for, a minute at most.";
  if (!(await confirm(`Load ${state.id} again?`, text, "Load again"))) return draw();
  return load({ model: state.id, options: { kv_cache_type: types } }, `Loading ${state.id} with ${types}`);
}

export function start() {
  $("model").addEventListener("change", pickModel);
  $("kv").addEventListener("change", pickKv);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !state.props) refresh();
  });
}
