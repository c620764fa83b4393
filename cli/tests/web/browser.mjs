// Pages that read like a script, and what no page of ours may do: errors on the console, requests to elsewhere, dialogs.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const ARGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage", // small in containers
];

export const DESKTOP = { width: 1180, height: 760 };
export const PHONE = { width: 390, height: 780 };

export class Browser {
  static async start(executablePath) {
    const self = new Browser();
    self.folder = mkdtempSync(join(tmpdir(), "turboquant-web-"));
    self.browser = await chromium.launch({ executablePath, args: [...ARGS, `--disk-cache-dir=${self.folder}`] });
    self.problems = [];
    self.requests = 0;
    return self;
  }

  /** A page with nothing stored. Failed requests put a line on the console: `failing` says that this check means them. */
  async page(url, { failing = false, path = "/", wait = true, ...options } = {}) {
    const context = await this.browser.newContext({ viewport: DESKTOP, ...options });
    const page = await context.newPage();
    const note = (what) => this.problems.push(what);
    const { origin } = new URL(url);
    context.on("request", (request) => {
      this.requests += 1;
      const where = request.url();
      if (!where.startsWith(`${origin}/`) && !where.startsWith("data:") && !where.startsWith("blob:")) note(`a request to ${where}`);
    });
    page.on("pageerror", (error) => note(`an error on the page: ${error.message}`));
    page.on("dialog", (dialog) => {
      note(`a dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on("console", (message) => {
      if (!["error", "warning"].includes(message.type())) return;
      if (failing && message.text().startsWith("Failed to load resource")) return;
      note(`on the console: ${message.text()}`);
    });
    page.setDefaultTimeout(20000);
    await page.goto(url + path);
    if (wait) await page.locator("#model:not([disabled])").waitFor();
    return page;
  }

  /** Fails for what went wrong since the last time. */
  clean() {
    const problems = this.problems.splice(0);
    assert.deepEqual(problems, []);
  }

  async close() {
    await this.browser.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Writes a message and sends it. */
export async function say(page, text) {
  await page.fill("#message", text);
  await page.press("#message", "Enter");
}

/** The last answer, once it is complete. */
export async function answered(page, n = 1) {
  await page.locator(".turn.assistant").nth(n - 1).waitFor();
  await page.locator("#send:visible").waitFor();
  return page.locator(".turn.assistant").nth(n - 1);
}
