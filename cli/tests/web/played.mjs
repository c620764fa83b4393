// Answers that are played, where they must be exact, slow or hostile.

import assert from "node:assert/strict";
import { answered, say } from "./browser.mjs";
import { checks, on, server, stage, text } from "./setup.mjs";
import { answer, progress } from "./stage.mjs";

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
