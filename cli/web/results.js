// Measurements that lie in the server's folder of results.

import { $, h } from "./dom.js";
import { json } from "./api.js";
import { bytes, number, time } from "./format.js";
import { table } from "./server.js";

export async function show() {
  const view = $("view-results");
  view.setAttribute("aria-busy", "true");
  let list;
  try {
    list = await json("/results");
  } catch (error) {
    view.replaceChildren(h("h2", {}, "Results"), h("p", { class: "error", role: "alert" }, error.message, " ", h("button", { type: "button", class: "quiet", onclick: show }, "Try again")));
    return;
  } finally {
    view.setAttribute("aria-busy", "false");
  }
  if (!list.data.length) {
    view.replaceChildren(h("h2", {}, "Results"), howTo(list.configured));
    return;
  }
  const detail = h("div", { class: "detail", tabindex: -1 });
  const rows = list.data.map((one) => [
    h("button", { type: "button", class: "link", onclick: () => open(one.name, detail) }, one.name),
    one.kind,
    one.model ?? "–",
    one.date ? one.date.replace("T", " ").replace("Z", " UTC") : "–",
    one.complete === false ? "not complete" : "",
  ]);
  view.replaceChildren(
    h("h2", {}, "Results"),
    list.left_out > 0 && h("p", { class: "note" }, `The newest are listed; ${list.left_out} older files are not.`),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Records" }, table("Records", ["File", "What", "Model", "When", ""], rows)),
    detail,
  );
}

function howTo(configured) {
  const commands = "turboquant bench -m model.gguf -o json > results/bench.json\nturboquant gate -m model.gguf --out results/gate.json\nturboquant serve -m model.gguf --results results";
  return h(
    "div",
    {},
    h("p", {}, configured ? "The folder of results holds no records yet. These commands make some:" : "The server was started without a folder of results. These commands make some and show them here:"),
    h("pre", { class: "code", tabindex: 0 }, h("code", {}, commands)),
  );
}

async function open(name, detail) {
  detail.replaceChildren(h("p", { class: "note", role: "status" }, "Reading…"));
  try {
    const record = await json(`/results/${encodeURIComponent(name)}`);
    const raw = h("details", {}, h("summary", {}, "The record as it was written"), h("pre", { class: "code", tabindex: 0 }, h("code", {}, JSON.stringify(record, null, 2))));
    detail.replaceChildren(h("h3", {}, name), ...summary(record), raw);
  } catch (error) {
    detail.replaceChildren(h("p", { class: "error", role: "alert" }, `${name} cannot be shown. ${error.message}`));
  }
  detail.focus({ preventScroll: true });
  detail.scrollIntoView({ block: "start" });
}

const scroll = (caption, head, rows) => h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, table(caption, head, rows));

function summary(record) {
  if (Array.isArray(record)) return [bench(record)];
  const { model, environment, settings, complete, warnings, results, kind } = record;
  const facts = [
    ["Model", [model?.file, model?.description].filter(Boolean).join(", ")],
    ["Machine", environment?.cpu],
    ["When", record.date],
    ["Program", record.program && `${record.program.version} ${record.program.commit}`],
    ["Command", record.command],
  ].filter(([, value]) => value);
  const out = [h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))]))];
  if (complete === false) out.push(h("p", { class: "error" }, "This measurement did not end: what is there is right, but not all."));
  for (const warning of warnings ?? []) out.push(h("p", { class: "error" }, String(warning)));
  if (kind === "gate") out.push(...gate(results));
  else out.push(...generic(results ?? settings));
  return out;
}

function bench(rows) {
  const test = (row) => {
    const [prompt, generated] = [row.n_prompt > 0 && `pp${row.n_prompt}`, row.n_gen > 0 && `tg${row.n_gen}`];
    return [prompt, generated].filter(Boolean).join("+") + (row.n_depth > 0 ? ` @ d${row.n_depth}` : "");
  };
  const head = ["KV", "Test", "tok/s", "±", "KV cache", "First token", "Between tokens, p50"];
  const cell = (row) => [
    row.kv ?? (row.type_k === row.type_v ? row.type_k : `${row.type_k}/${row.type_v}`),
    test(row),
    number(row.avg_ts),
    number(row.stddev_ts),
    bytes(row.kv_bytes),
    time(row.ttft_ms ?? NaN),
    time(row.itl_p50_ms ?? NaN),
  ];
  return scroll("Benchmark", head, rows.map(cell));
}

function gate(results) {
  const bar = (pass) => (pass?.at_most !== undefined ? `≤ ${number(pass.at_most)}` : pass?.at_least !== undefined ? `≥ ${number(pass.at_least)}` : "–");
  const verdict = (word) => h("span", { class: `verdict ${word === "pass" ? "good" : word === "not run" ? "" : "bad"}` }, String(word));
  const rows = (results?.criteria ?? []).map((one) => [one.id, one.what, number(one.measured), bar(one.pass), verdict(one.verdict), one.why ?? ""]);
  return [
    h("p", { class: "big" }, String(results?.candidate ?? ""), " ", verdict(results?.verdict)),
    scroll("Criteria", ["", "What", "Measured", "Bar", "Verdict", "Why"], rows),
  ];
}

/** Lists of numbers in other records, as tables of their plain fields. */
function generic(results) {
  const plain = (value) => value === null || ["number", "string", "boolean"].includes(typeof value);
  const isInterval = (value) => value && typeof value === "object" && typeof value.estimate === "number";
  const out = [];
  for (const [name, value] of Object.entries(results ?? {})) {
    if (!Array.isArray(value) || !value.length || !value.every((row) => row && typeof row === "object" && !Array.isArray(row))) continue;
    const columns = [...new Set(value.flatMap((row) => Object.keys(row).filter((key) => plain(row[key]) || isInterval(row[key]))))].slice(0, 10);
    const cell = (one) => (one === true ? "yes" : one === false ? "no" : number(one));
    out.push(h("h4", {}, name), scroll(name, columns, value.slice(0, 100).map((row) => columns.map((key) => cell(row[key])))));
  }
  return out;
}
