// The other views, the keyboard, themes, a phone, accessibility.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { DESKTOP, PHONE, answered, say } from "./browser.mjs";
import { browser, checks, model, on, stage } from "./setup.mjs";
import { answer } from "./stage.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

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
