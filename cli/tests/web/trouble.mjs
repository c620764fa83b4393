// What goes wrong.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { answered, say } from "./browser.mjs";
import { browser, checks, model, on, stage, text } from "./setup.mjs";
import { answer } from "./stage.mjs";

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
