// The main path: the real server and the embedded model.

import assert from "node:assert/strict";
import { answered, say } from "./browser.mjs";
import { browser, checks, model, on, real, server, stored, text } from "./setup.mjs";
import { answer } from "./stage.mjs";

await checks.run("a question is answered in a stream, with its speed and the types of the cache", async () => {
  const page = await browser.page(real);
  await model(page, "turbotiny");
  await page.locator("#meter:visible").waitFor();
  await say(page, "What is turbo4?");
  const turn = await answered(page);
  assert((await text(turn.locator(".text"))).length > 10);
  assert.match(await text(turn.locator(".speed")), /[\d.,]+ tok\/s[\s\S]*\d+ tokens[\s\S]*prompt \d+ tok in [\s\S]*first token [\d.]+ m?s[\s\S]*KV turbo4/);
});

await checks.run("the meter has the tokens of the conversation, their bytes, and what f16 would have taken", async () => {
  const page = await browser.page(real);
  await model(page, "turbotiny");
  await page.locator("#meter:visible").waitFor();
  await page.click("#settings");
  await page.getByLabel("Tokens at most").fill("20");
  await page.getByRole("button", { name: "Save" }).click();
  await say(page, "Hello");
  await answered(page);
  await page.locator("#conversations li.open").waitFor();
  const { usage } = (await stored(page))[0].turns.at(-1);
  const props = await (await fetch(`${server}/props?model=turbotiny`)).json();
  const used = usage.total_tokens;
  const mib = (bytes) => `${(bytes / (1 << 20)).toFixed(2)} MiB`;
  const shown = await text(page.locator("#meter-text"));
  assert(shown.startsWith(`${used} of ${props.default_generation_settings.n_ctx.toLocaleString("en-US")} tokens`), shown);
  assert(shown.includes(`KV ${mib(used * props.kv.bytes_per_token)}`), shown);
  assert(shown.includes(`f16 would take ${mib(used * props.kv.bytes_per_token_f16)}`), shown);
  assert(shown.includes(`${(props.kv.bytes_per_token_f16 / props.kv.bytes_per_token).toFixed(1)}×)`), shown);
});

await checks.run("a reload keeps the conversation", async () => {
  const page = await browser.page(real);
  await model(page, "turbotiny");
  await say(page, "What is turbo3?");
  const before = await text((await answered(page)).locator(".text"));
  await page.locator("#conversations li.open").waitFor();
  await page.reload();
  await page.locator(".turn.assistant .text").waitFor();
  assert.equal(await text(page.locator(".turn.assistant .text")), before);
  assert.equal(await text(page.locator("#conversations li")), "What is turbo3?\n×");
});

await checks.run("a reload while an answer is written keeps what had come", async () => {
  const pieces = Array.from({ length: 400 }, (_, i) => `word${i} `);
  const page = await on(answer(pieces, { pause: 20 }));
  await say(page, "Write slowly");
  await page.getByText("word100").waitFor();
  await page.reload();
  const turn = page.locator(".turn.assistant");
  await turn.getByText("Stopped.").waitFor();
  assert.match(await text(turn.locator(".text")), /^word0 word1 /);
  assert.equal(await text(page.locator(".turn.user .plain")), "Write slowly");
});

await checks.run("another model is loaded after a question", async () => {
  const page = await browser.page(real);
  await model(page, "turbotiny");
  await page.locator("#meter:visible").waitFor();
  assert.equal(await model(page, "untrained"), true);
  const { data } = await (await fetch(`${server}/v1/models`)).json();
  assert.equal(data.find(({ id }) => id === "untrained").status.value, "loaded");
});

await checks.run("another type of cache means loading again, which is asked and shown", async () => {
  const page = await browser.page(real);
  await model(page, "turbotiny");
  await page.locator("#kv:not([disabled])").waitFor();
  await page.selectOption("#kv", "f16");
  const dialog = page.getByRole("dialog");
  assert.match(await text(dialog), /loaded again[\s\S]*everybody/);
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await page.waitForFunction(() => document.querySelector("#kv").value === "turbo4");
  await page.selectOption("#kv", "f16");
  await page.getByRole("dialog").getByRole("button", { name: "Load again" }).click();
  const loaded = async (types) => {
    for (;;) {
      const { kv } = await (await fetch(`${server}/props?model=turbotiny`)).json();
      if (kv?.type_k === types && kv.type_v === types) break;
      await page.waitForTimeout(50);
    }
    await page.waitForFunction((types) => document.querySelector("#kv").value === types && !document.querySelector("#kv").disabled, types);
  };
  await loaded("f16");
  await page.selectOption("#kv", "turbo4");
  await page.getByRole("dialog").getByRole("button", { name: "Load again" }).click();
  await loaded("turbo4");
});

await checks.run("while the server is busy the page loads, shows it, waits and can stop", async () => {
  const body = JSON.stringify({ model: "turbotiny", messages: [{ role: "user", content: "hi" }], stream: true, ignore_eos: true });
  const control = new AbortController();
  // more than there are slots, and each goes on to the end of the context
  const jobs = Array.from({ length: 16 }, () => fetch(`${server}/v1/chat/completions`, { method: "POST", body, signal: control.signal }));
  await Promise.race(jobs);
  const page = await browser.page(real);
  await model(page, "turbotiny");
  await say(page, "Is anybody there?");
  await page.locator(".status", { hasText: "Waiting" }).waitFor();
  await page.click("#tab-server");
  await page.locator(".value", { hasText: /2 of \d+ slots, [1-9]\d* waiting/ }).waitFor();
  await page.click("#tab-chat");
  await page.click("#stop");
  await page.getByText("Stopped.", { exact: true }).first().waitFor();
  control.abort();
  await Promise.allSettled(jobs.map(async (job) => (await job).text()));
});
