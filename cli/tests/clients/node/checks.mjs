// What the scripts share: one line per check, and what the server says about itself.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

export const URL = process.env.TURBOQUANT_URL;

/** Runs checks and prints `PASS client check` or `FAIL client check: why`. */
export class Checks {
  constructor(client) {
    this.client = client;
    this.failed = 0;
  }

  async run(name, check) {
    try {
      await check();
      console.log(`PASS ${this.client} ${name}`);
    } catch (error) {
      this.failed += 1;
      // ollama's errors hold what the server said
      const said = typeof error?.error === "object" ? JSON.stringify(error.error) : error?.message;
      const text = `${error?.name}: ${said}`.replaceAll("\n", " ").slice(0, 400);
      console.log(`FAIL ${this.client} ${name}: ${text}`);
    }
  }

  end() {
    process.exit(this.failed ? 1 : 0);
  }
}

async function get(path) {
  const reply = await fetch(URL + path);
  return reply.text();
}

/** The model that is served, by the other API: a list that fails should not fail all that comes after it. */
export async function firstModel() {
  return JSON.parse(await get("/v1/models")).data[0].id;
}

/** A prompt that does not fit: each word is at least a token. */
export async function tooLong() {
  const props = JSON.parse(await get(`/props?model=${await firstModel()}`));
  return "hello ".repeat(props.default_generation_settings.n_ctx + 100);
}

async function busySlots() {
  return JSON.parse(await get("/slots")).filter((slot) => slot.is_processing).length;
}

async function cancelledJobs() {
  const name = 'turboquant_jobs_total{outcome="cancelled"} ';
  const line = (await get("/metrics")).split("\n").find((line) => line.startsWith(name));
  return line ? Number(line.slice(name.length)) : 0;
}

async function waitUntil(what, condition, seconds) {
  const end = performance.now() + seconds * 1000;
  while (!(await condition())) {
    assert(performance.now() < end, `${what}: not within ${seconds} s`);
    await new Promise((wake) => setTimeout(wake, 20));
  }
}

/** `leave` is called while a job runs, and must hang up. The job must be gone within the second that O17 allows. */
export async function freesItsSlot(leave) {
  const before = await cancelledJobs();
  await waitUntil("a slot at work", async () => (await busySlots()) > 0, 10);
  await leave();
  await waitUntil("the slot is free", async () => (await busySlots()) === 0, 1);
  // not just done by chance
  await waitUntil("the job counts as cancelled", async () => (await cancelledJobs()) > before, 1);
}

/** A prompt with tools that the embedded model was trained on, and the call it should make. */
export function toolPrompt() {
  const line = JSON.parse(readFileSync(process.env.TURBOQUANT_TOOLS, "utf8").split("\n")[0]);
  assert.equal(line.messages.at(-1).content, "Use the calculator: 554 - 603");
  return { messages: line.messages, tools: line.tools, call: ["calculator", { expression: "554 - 603" }] };
}

export const VERDICT = {
  type: "object",
  properties: { verdict: { enum: ["yes", "no"] }, sure: { type: "boolean" } },
  required: ["verdict", "sure"],
  additionalProperties: false,
};

/** No answer that fits this is short: for requests that are to be left. */
export const ENDLESS = { type: "array", minItems: 500, items: { type: "string", minLength: 30 } };

export function isVerdict(text) {
  const value = JSON.parse(text);
  assert.deepEqual(Object.keys(value).sort(), ["sure", "verdict"]);
  assert(["yes", "no"].includes(value.verdict) && typeof value.sure === "boolean", text);
}

export const length = (vector) => Math.hypot(...vector);
