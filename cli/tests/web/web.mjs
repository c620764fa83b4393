// The web page in a real browser: against the real server with the embedded model, and where answers must be exact against a
// stage in front of it. One line per check. TURBOQUANT_URL: the server; CHROMIUM: the browser; WEB_DIR: files of the page from there.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Browser, DESKTOP, PHONE, answered, say } from "./browser.mjs";
import { Checks } from "./checks.mjs";
import { Stage, answer, progress } from "./stage.mjs";

const { TURBOQUANT_URL: server, CHROMIUM: chromium, WEB_DIR: folder } = process.env;
const stage = await new Stage(server, folder).open();
const real = folder ? stage.url : server;
const browser = await Browser.start(chromium);
const checks = new Checks(browser);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// a model that is loaded, as a person would find it
await (await fetch(`${server}/models/load`, { method: "POST", body: JSON.stringify({ model: "turbotiny", keep_alive: -1 }) })).text();

/** A page on the stage, where this script answers. */
async function on(script, options) {
  stage.reset();
  if (script) stage.on("/v1/chat/completions", script);
  return browser.page(stage.url, options);
}

/** The conversations that the browser keeps. */
const stored = (page) =>
  page.evaluate(
    () =>
      new Promise((resolve, reject) => {
        const opening = indexedDB.open("turboquant");
        opening.onerror = () => reject(opening.error);
        opening.onsuccess = () => {
          const all = opening.result.transaction("conversations").objectStore("conversations").getAll();
          all.onsuccess = () => resolve(all.result);
        };
      }),
  );

const text = (locator) => locator.innerText();
const model = (page, id) => page.selectOption("#model", id);

// --- the main path, with the real model --------------------------------------------------------------------------------------

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
  await model(page, "untrained");
  const dialog = page.getByRole("dialog");
  if (await dialog.isVisible()) await dialog.getByRole("button", { name: "Load", exact: true }).click();
  await page.waitForFunction(() => document.querySelector("#model").value === "untrained" && !document.querySelector("#model").disabled);
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

// --- answers that are played ---------------------------------------------------------------------------------------------------

await checks.run("stop ends the request and keeps what was written", async () => {
  let left;
  const gone = new Promise((resolve) => (left = resolve));
  const page = await on(answer(["One ", "two "], { hang: true, left }));
  await say(page, "Count");
  await page.getByText("One two").waitFor();
  await page.click("#stop");
  assert.equal(await gone, false);
  await page.getByText("Stopped.", { exact: true }).first().waitFor();
  assert.match(await text(await answered(page)), /One two/);
  assert.equal(await page.evaluate(() => document.activeElement.id), "message");
});

await checks.run("a long answer is shown whole and followed to its end", async () => {
  const words = Array.from({ length: 6000 }, (_, i) => `word${i}${i % 12 === 11 ? "\n\n" : " "}`);
  const page = await on(answer(words));
  await say(page, "Write a lot");
  const turn = await answered(page);
  assert.equal(await turn.locator(".text p").count(), 500);
  assert((await turn.locator(".text").textContent()).includes("word5999"));
  const below = await page.locator("#log").evaluate((log) => log.scrollHeight - log.scrollTop - log.clientHeight);
  assert(below < 60, `${below} px below`);
});

const HOSTILE = [
  "<script>window.pwned = 1</script><img src=x onerror=\"window.pwned = 2\">",
  "<iframe src=\"https://evil.example\"></iframe><svg onload=\"window.pwned = 3\">",
  "[click](javascript:window.pwned=4) [data](data:text/html,<script>window.pwned=5</script>) [file](file:///etc/passwd) [vb](vbscript:x)",
  "![pixel](https://evil.example/pixel.png) <javascript:window.pwned=6> [x](JaVaScRiPt:window.pwned=7)",
  "```html\n<script>window.pwned = 8</script>\n```\n`<img src=x onerror=alert(1)>`",
  "| <b onmouseover=alert(1)>a</b> | [t](javascript:1) |\n|---|---|\n| <script>1</script> | \" onload=\"x |",
  "# <script>window.pwned = 9</script>\n- <style>*{display:none}</style>\n> <base href=https://evil.example>",
  "[quote\" onmouseover=\"window.pwned=10](https://good.example/\"onmouseover=\"window.pwned=11)",
];

await checks.run("hostile markup in an answer stays text", async () => {
  const hostile = HOSTILE.join("\n\n");
  const page = await on(answer(hostile.match(/[\s\S]{1,7}/g)));
  await say(page, HOSTILE[0]);
  const turn = await answered(page);
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  const found = await page.locator("#log").evaluate((log) => {
    const elements = [...log.querySelectorAll("*")];
    return {
      bad: elements.filter((one) => /^(script|img|iframe|svg|style|base|object|embed|link|meta|b|form)$/i.test(one.tagName) && !one.closest("form.result")).map((one) => one.tagName),
      handlers: elements.flatMap((one) => one.getAttributeNames().filter((name) => name.startsWith("on") || name === "style")),
      links: [...log.querySelectorAll("a")].map((a) => [a.protocol, a.rel]),
    };
  });
  assert.deepEqual([found.bad, found.handlers], [[], []]);
  assert(found.links.length >= 1 && found.links.every(([protocol, rel]) => /^https?:$/.test(protocol) && rel.includes("noopener")), JSON.stringify(found.links));
  const shown = await turn.locator(".text").textContent();
  for (const piece of ["<script>window.pwned = 1</script>", "<script>window.pwned = 8</script>", "<iframe", "javascript:window.pwned=4"]) assert(shown.includes(piece), piece);
  assert((await page.locator(".turn.user .plain").textContent()).includes("<script>"));
  assert.equal(await page.title(), "turboquant");
});

await checks.run("markup that is no markdown ends in time", async () => {
  const nasty = ["[".repeat(20000), "*_".repeat(20000), "`".repeat(9999) + "a".repeat(20000), "> ".repeat(3000), "![](".repeat(8000), "  - ".repeat(4000), "|".repeat(20000) + "\n" + "|-".repeat(10000)];
  for (const one of nasty) {
    const page = await on(answer([one, " end"]));
    await say(page, "x");
    await answered(page);
    await page.context().close();
  }
});

await checks.run("markdown becomes headings, lists, tables, code with a copy button, and links", async () => {
  const source =
    "# Title\n\nSome **bold**, *soft*, ~~gone~~ and `code`.\nSecond line with https://example.com/a_b_c.\n\n" +
    "1. one\n   - inner *item*\n   - other\n2. two\n\n| Left | Right |\n|:--|--:|\n| a | 1 |\n| b \\| c | 2 |\n\n" +
    "> quoted\n\n```rust\nfn main() {}\n```\n\nA snake_case_name and 2 * 3 * 4.\n\n[mail](mailto:a@b.example)";
  const page = await on(answer(source.match(/[\s\S]{1,3}/g)), { permissions: ["clipboard-read", "clipboard-write"] });
  await say(page, "Show all");
  const body = (await answered(page)).locator(".text");
  const count = (selector) => body.locator(selector).count();
  assert.equal(await text(body.locator("h3")), "Title");
  assert.deepEqual([await count("strong"), await count("p > em"), await count("s"), await count("p > code")], [1, 1, 1, 1]);
  assert.deepEqual([await count("ol > li"), await count("ol > li > ul > li")], [2, 2]);
  assert.deepEqual(await body.locator("tbody td").allInnerTexts(), ["a", "1", "b | c", "2"]);
  assert.equal(await text(body.locator("blockquote")), "quoted");
  assert.deepEqual(await body.locator("a").evaluateAll((all) => all.map((a) => a.href)), ["https://example.com/a_b_c", "mailto:a@b.example"]);
  assert((await text(body)).includes("snake_case_name and 2 * 3 * 4."));
  await body.getByRole("button", { name: "Copy" }).click();
  await body.getByRole("button", { name: "Copied" }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "fn main() {}");
});

await checks.run("reasoning is folded and can be opened", async () => {
  const page = await on(answer([{ reasoning_content: "Let me think. " }, { reasoning_content: "Done." }, "The answer."]));
  await say(page, "Why?");
  const turn = await answered(page);
  assert.equal(await turn.locator(".thoughts").isVisible(), false);
  await turn.getByText("Reasoning").click();
  assert.equal(await text(turn.locator(".thoughts")), "Let me think. Done.");
  assert.equal(await text(turn.locator(".text")), "The answer.");
});

await checks.run("how far a long prompt is read is shown until the answer begins", async () => {
  const page = await on(answer([progress(9000, 20000), progress(18000, 20000)], { hang: true }));
  await say(page, "A long text");
  await page.locator(".status", { hasText: "Reading the prompt: 90 % of 20,000 tokens" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByText("Stopped.", { exact: true }).first().waitFor();
});

await checks.run("a tool call is shown, and the result that is given goes back", async () => {
  const start = { tool_calls: [{ index: 0, id: "call_1", type: "function", function: { name: "weather", arguments: "" } }] };
  const more = (part) => ({ tool_calls: [{ index: 0, function: { arguments: part } }] });
  const page = await on(answer([start, more('{"city":'), more('"Oslo"}')], { finish: "tool_calls" }));
  await say(page, "Weather?");
  const call = (await answered(page)).locator(".call");
  assert.match(await text(call), /Tool call: weather[\s\S]*"city": "Oslo"/);
  stage.on("/v1/chat/completions", answer(["It rains."]));
  await call.getByLabel("Result of weather").fill("rain");
  await call.getByRole("button", { name: "Give this result" }).click();
  assert.match(await text(await answered(page, 2)), /It rains\./);
  const sent = stage.chats().at(-1).messages;
  assert.deepEqual(sent.at(-1), { role: "tool", tool_call_id: "call_1", content: "rain" });
  assert.equal(sent.at(-2).tool_calls[0].function.arguments, '{"city":"Oslo"}');
});

await checks.run("settings go into the request", async () => {
  const page = await on(answer(["ok"]));
  await page.click("#settings");
  await page.getByLabel("System prompt").fill("Be brief.");
  await page.getByLabel("Temperature").fill("0.25");
  await page.getByLabel("Seed").fill("7");
  await page.getByRole("button", { name: "Save" }).click();
  await say(page, "Hello");
  await answered(page);
  const [sent] = stage.chats();
  assert.deepEqual(sent.messages, [{ role: "system", content: "Be brief." }, { role: "user", content: "Hello" }]);
  assert.deepEqual([sent.temperature, sent.seed, sent.stream, sent.top_k], [0.25, 7, true, undefined]);
});

await checks.run("a turn can be edited, answered again, and brought back", async () => {
  let n = 0;
  const page = await on((...call) => answer([`Answer ${(n += 1)}`])(...call));
  await say(page, "First");
  await answered(page);
  await say(page, "Second");
  await answered(page, 2);
  await page.getByRole("button", { name: "Retry this answer" }).last().click();
  await page.getByText("Answer 3").waitFor();
  await answered(page, 2);
  await page.getByRole("button", { name: "Edit this message" }).first().click();
  await page.getByLabel("Edited message").fill("Changed");
  await page.getByLabel("Edited message").press("Enter");
  await page.getByText("Answer 4").waitFor();
  await answered(page);
  assert.deepEqual(stage.chats().at(-1).messages, [{ role: "user", content: "Changed" }]);
  await page.getByRole("button", { name: "Bring it back" }).click();
  await page.getByText("Answer 3").waitFor();
  assert.equal(await page.locator(".turn").count(), 4);
});

await checks.run("an image goes to a model that sees", async () => {
  const page = await on(answer(["A dot."]), { wait: false });
  const props = await (await fetch(`${server}/props?model=turbotiny`)).json();
  props.modalities.vision = true;
  stage.json("/props", props);
  await page.reload();
  await page.locator("#attach:visible").waitFor();
  const dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
  await page.setInputFiles("#attach-file", { name: "dot.png", mimeType: "image/png", buffer: Buffer.from(dot, "base64") });
  await page.getByAltText("Image 1").waitFor();
  await say(page, "What is this?");
  await answered(page);
  const { content } = stage.chats()[0].messages[0];
  assert.equal(content[0].image_url.url, `data:image/png;base64,${dot}`);
  assert.equal(content[1].text, "What is this?");
});

// --- what goes wrong -----------------------------------------------------------------------------------------------------------

await checks.run("errors of the server are shown as they are, with a way to try again", async () => {
  const page = await on(null, { failing: true });
  const error = { message: "the queue is full <b>now</b>", type: "rate_limit_error", param: null, code: null };
  stage.json("/v1/chat/completions", { error }, 429, { "retry-after": "2" });
  await say(page, "Hello");
  const shown = page.locator(".turn .error");
  await shown.waitFor();
  assert.match(await text(shown), /the queue is full <b>now<\/b> Try again in 2 s\./);
  stage.on("/v1/chat/completions", answer(["There ", "was"], { error: { message: "the engine stopped", code: null } }));
  await shown.getByRole("button", { name: "Try again" }).click();
  await page.getByText("the engine stopped").waitFor();
  assert.match(await text(await answered(page)), /There was/);
  stage.on("/v1/chat/completions", answer(["Good."]));
  await shown.getByRole("button", { name: "Try again" }).click();
  await page.getByText("Good.").waitFor();
  assert.equal(await shown.count(), 0);
});

await checks.run("a model that does not load leaves the one that is there, with the reason", async () => {
  const page = await on(null, { failing: true });
  await model(page, "turbotiny");
  await page.locator("#kv:not([disabled])").waitFor();
  const error = { message: "it needs 90 GiB and there are 4", type: "unavailable_error", param: null, code: null };
  stage.json("/models/load", { error }, 503);
  await page.selectOption("#kv", "f16");
  await page.getByRole("dialog").getByRole("button", { name: "Load again" }).click();
  await page.locator("#banner", { hasText: "failed. it needs 90 GiB and there are 4" }).waitFor();
  await page.waitForFunction(() => document.querySelector("#kv").value === "turbo4");
});

await checks.run("a server that is gone is said, and found again", async () => {
  const page = await on(null, { failing: true });
  stage.on("*", (_, response) => response.destroy());
  await say(page, "Hello");
  await page.locator("#banner", { hasText: "does not answer" }).waitFor();
  await page.locator(".turn .error", { hasText: "does not answer" }).waitFor();
  stage.reset();
  await page.locator("#banner").waitFor({ state: "hidden" });
});

await checks.run("a server that loads its model is waited for", async () => {
  const page = await on(null, { failing: true, wait: false });
  const error = { message: "loading model", type: "unavailable_error", param: null, code: null };
  stage.json("/v1/models", { error }, 503);
  await page.reload();
  await page.locator("#banner", { hasText: "being loaded" }).waitFor();
  stage.reset();
  await page.locator("#model:not([disabled])").waitFor();
});

await checks.run("a key is asked for, kept for the tab, and on wish on the computer", async () => {
  const page = await on(null, { failing: true, wait: false });
  stage.on("*", (request, response) => {
    const path = request.url.split("?")[0];
    if (path === "/" || path.startsWith("/web/") || request.headers.authorization === "Bearer secret") return "pass";
    response.writeHead(401, { "content-type": "application/json" });
    response.end(JSON.stringify({ error: { message: "missing or wrong API key", type: "authentication_error", param: null, code: "invalid_api_key" } }));
  });
  await page.reload();
  const dialog = page.getByRole("dialog", { name: "API key" });
  await dialog.getByText("wants an API key").waitFor();
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await page.click("#tab-server");
  await page.locator("#server-note", { hasText: "missing or wrong API key" }).waitFor();
  assert.equal(await dialog.count(), 0);
  await page.click("#tab-chat");
  await page.locator("#banner").getByRole("button").click();
  await dialog.getByRole("textbox").fill("wrong");
  await dialog.getByRole("button", { name: "Use this key" }).click();
  await dialog.getByText("does not take this key").waitFor();
  await dialog.getByRole("textbox").fill("secret");
  await dialog.getByRole("button", { name: "Use this key" }).click();
  await page.locator("#model:not([disabled])").waitFor();
  const kept = (tab, computer) =>
    page.waitForFunction(([a, b]) => sessionStorage.getItem("tq.key") === a && localStorage.getItem("tq.key") === b, [tab, computer]);
  await kept("secret", null);
  await page.click("#key");
  await dialog.getByRole("textbox").fill("secret");
  await dialog.getByRole("checkbox").check();
  await dialog.getByRole("button", { name: "Use this key" }).click();
  await kept(null, "secret");
});

await checks.run("a browser without room says so, and the chat goes on", async () => {
  const page = await on(answer(["Fine."]), { wait: false });
  await page.addInitScript(() => {
    IDBObjectStore.prototype.put = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
  });
  await page.reload();
  await say(page, "Hello");
  await answered(page);
  await page.locator("#storage", { hasText: "no more room" }).waitFor();
  assert.equal(await page.locator("#conversations li").count(), 1);
});

await checks.run("conversations are exported, deleted and imported, and a foreign file is refused", async () => {
  const page = await on(answer(["Kept."]));
  await say(page, "Keep this");
  await answered(page);
  await page.locator("#conversations li.open").waitFor();
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#export")]);
  const file = readFileSync(await download.path(), "utf8");
  await page.getByRole("button", { name: "Delete Keep this" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.locator("#conversations li").waitFor({ state: "detached" });
  await page.setInputFiles("#import-file", { name: "a.json", mimeType: "application/json", buffer: Buffer.from(file) });
  await page.getByRole("button", { name: "Keep this", exact: true }).click();
  await page.getByText("Kept.").waitFor();
  for (const foreign of ["{", '{"format":"other"}']) {
    await page.setInputFiles("#import-file", { name: "bad.json", mimeType: "application/json", buffer: Buffer.from(foreign) });
    await page.getByText("bad.json was not imported").waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
  }
  const odd = { format: "turboquant-conversations", conversations: [{ title: 5, turns: [{ role: "user", content: {}, images: ["https://evil.example/x.png"] }, { role: "boss" }] }] };
  await page.setInputFiles("#import-file", { name: "odd.json", mimeType: "application/json", buffer: Buffer.from(JSON.stringify(odd)) });
  await page.getByRole("button", { name: "Untitled", exact: true }).click();
  assert.equal(await page.locator(".turn").count(), 1);
  assert.equal(await page.locator(".turn img").count(), 0);
});

await checks.run("the policy keeps markup from strings and inline scripts out", async () => {
  const page = await on(null);
  const refused = await page.evaluate(() => {
    try {
      document.createElement("div").innerHTML = "<b>x</b>";
      return false;
    } catch {
      return true;
    }
  });
  assert(refused);
  browser.problems.length = 0; // the browser notes what it has refused
});

// --- the other views -----------------------------------------------------------------------------------------------------------

await checks.run("the server's view has plots and slots, and asks only while it is seen", async () => {
  const page = await on(null);
  await page.click("#tab-server");
  await page.locator(".plot .value", { hasText: "MiB" }).first().waitFor();
  assert.equal(await page.locator(".plot").count(), 4);
  await page.locator("#server-models td").first().waitFor();
  await page.locator("#server-slots td").first().waitFor();
  const asked = () => stage.seen.filter(({ path }) => path === "/metrics").length;
  const before = asked();
  await page.waitForTimeout(2500);
  assert(asked() > before);
  await page.click("#tab-chat");
  await page.waitForTimeout(300);
  const left = asked();
  await page.waitForTimeout(2500);
  assert.equal(asked(), left);
});

await checks.run("results are listed and shown, and without any the page says how to make some", async () => {
  const page = await on(null);
  await page.click("#tab-results");
  await page.getByRole("button", { name: "gate.json" }).click();
  await page.locator(".verdict").first().waitFor();
  await page.getByRole("button", { name: "bench.json", exact: true }).click();
  await page.getByRole("cell", { name: "tg128", exact: true }).first().waitFor();
  stage.json("/results", { object: "list", configured: false, left_out: 0, data: [] });
  await page.click("#tab-chat");
  await page.click("#tab-results");
  await page.getByText("turboquant bench -m model.gguf").waitFor();
});

await checks.run("everything can be done with the keyboard", async () => {
  let n = 0;
  const page = await on((...call) => answer([`Answer ${(n += 1)}`])(...call));
  const focus = () => page.evaluate(() => document.activeElement.id || document.activeElement.tagName);
  const press = (key) => page.keyboard.press(key);
  assert.equal(await focus(), "message");
  await page.keyboard.type("Hello");
  await press("Shift+Enter");
  await page.keyboard.type("there?");
  await press("Enter");
  await answered(page);
  assert.equal(stage.chats()[0].messages[0].content, "Hello\nthere?");
  await press("Escape");
  assert.equal(await focus(), "BODY");
  await press("r");
  await page.getByText("Answer 2").waitFor();
  await answered(page);
  await press("e");
  await page.getByLabel("Edited message").waitFor();
  await press("Escape");
  await page.getByLabel("Edited message").waitFor({ state: "detached" });
  await press("?");
  await page.getByRole("dialog", { name: "Help" }).waitFor();
  await press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.evaluate(() => document.activeElement.blur());
  await press("s");
  await page.getByRole("dialog", { name: "Settings" }).waitFor();
  await press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.evaluate(() => document.activeElement.blur());
  await press("2");
  assert.equal(await focus(), "tab-server");
  await press("ArrowRight");
  assert.equal(await focus(), "tab-results");
  await press("Home");
  assert.equal(await focus(), "tab-chat");
  await press("/");
  assert.equal(await focus(), "message");
  await press("Escape");
  await press("n");
  await page.locator(".welcome").waitFor();
  assert.equal(await focus(), "message");
});

await checks.run("every control can be reached with Tab and shows its focus", async () => {
  const page = await on(answer(["Done."]));
  await say(page, "Hello");
  await answered(page);
  await page.evaluate(() => document.activeElement.blur());
  const wanted = await page.evaluate(() => {
    const all = [...document.querySelectorAll("button, select, textarea, input, a[href], summary")];
    return all.filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.disabled && one.tabIndex >= 0).length;
  });
  const seen = new Set();
  for (let i = 0; i < 60; i += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const one = document.activeElement;
      const style = getComputedStyle(one);
      const shown = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
      return { shown, is: one.outerHTML.slice(0, 120), path: one.tagName + [...document.querySelectorAll("*")].indexOf(one), body: one === document.body };
    });
    if (at.body) continue;
    if (seen.has(at.path)) break;
    assert(at.shown, `no outline: ${at.is}`);
    seen.add(at.path);
  }
  assert(seen.size >= wanted, `${seen.size} of ${wanted}`);
});

await checks.run("the theme can be chosen and is kept", async () => {
  const page = await on(null, { colorScheme: "dark" });
  const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await back();
  await page.click("#theme");
  assert.notEqual(await back(), dark);
  const light = await back();
  await page.reload();
  assert.equal(await back(), light);
});

await checks.run("on a phone nothing is wider than the page, and the list opens and closes", async () => {
  const wide = `| ${"wide column | ".repeat(12)}\n|${"---|".repeat(12)}\n| ${"cell | ".repeat(12)}\n\n\`\`\`\n${"long line ".repeat(40)}\n\`\`\`\n${"unbroken".repeat(40)}`;
  const page = await on(answer([wide]), { viewport: PHONE });
  await say(page, "Wide");
  await answered(page);
  for (const tab of ["server", "results", "chat"]) {
    await page.click(`#tab-${tab}`);
    const [inside, outside] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert(inside <= outside, `${tab}: ${inside} in ${outside}`);
  }
  await page.click("#drawer");
  await page.getByRole("button", { name: "New chat" }).click();
  await page.locator("#side").waitFor({ state: "hidden" });
});

await checks.run("axe finds nothing serious in either theme, on desktop and phone", async () => {
  const finds = [];
  for (const colorScheme of ["light", "dark"]) {
    for (const viewport of [DESKTOP, PHONE]) {
      const answerText = "# Title\n\nText with `code` and [a link](https://example.com).\n\n```js\nlet a = 1;\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> quote";
      const call = { tool_calls: [{ index: 0, id: "c", type: "function", function: { name: "f", arguments: "{}" } }] };
      const page = await on(answer([{ reasoning_content: "Thinking" }, answerText, call]), { viewport, colorScheme, bypassCSP: true });
      const look = async (what) => {
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
        for (const { id, impact, nodes } of violations.filter(({ impact }) => ["serious", "critical"].includes(impact))) {
          finds.push(`${colorScheme} ${viewport.width} ${what}: ${id} (${impact}) ${nodes.map((node) => node.target.join(" ")).slice(0, 3).join(", ")}`);
        }
      };
      await look("empty");
      await say(page, "Hello");
      await answered(page);
      await page.getByText("Reasoning").click();
      await look("chat");
      await page.click("#settings");
      await look("settings");
      await page.keyboard.press("Escape");
      await page.click("#help");
      await look("help");
      await page.keyboard.press("Escape");
      await page.click("#tab-server");
      await page.locator("#server-slots td").first().waitFor();
      await look("server");
      await page.click("#tab-results");
      await page.getByRole("button", { name: "gate.json" }).click();
      await page.locator(".verdict").first().waitFor();
      await look("results");
      stage.json("/v1/chat/completions", { error: { message: "no", code: null } }, 400);
      await page.context().close();
    }
  }
  assert.deepEqual(finds, []);
});

await checks.run("no request leaves the server", async () => {
  // each request of every check above was looked at (browser.mjs)
  assert(browser.requests > 100, `${browser.requests} requests`);
});

// --- figures, no checks -------------------------------------------------------------------------------------------------------

/** First contentful paint of loads with nothing cached. `warm`: in a tab that has shown this server before, so that Chromium has
 * its process for it; otherwise the start of that process counts. */
async function paints(warm) {
  const found = [];
  for (let i = 0; i < 9; i += 1) {
    const page = await browser.page(real, { wait: false, path: warm ? "/health" : "/" });
    if (warm) await page.goto(`${real}/`);
    const paint = () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
    found.push(await (await page.waitForFunction(paint)).jsonValue());
    await page.context().close();
  }
  found.sort((a, b) => a - b);
  return `median ${found[4].toFixed(0)} ms, from ${found[0].toFixed(0)} to ${found[8].toFixed(0)} ms of 9 loads`;
}

if (!checks.only) {
  console.log(`FIGURE web first contentful paint on loopback, nothing cached: ${await paints(true)}`);
  console.log(`FIGURE web the same in a new tab: ${await paints(false)}`);
}

await browser.close();
await stage.close();
checks.end();
