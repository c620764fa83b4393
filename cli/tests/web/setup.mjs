// What the checks share: the browser, the stage, and pages on it.

import { Browser } from "./browser.mjs";
import { Checks } from "./checks.mjs";
import { Stage } from "./stage.mjs";

export const { TURBOQUANT_URL: server, CHROMIUM: chromium, WEB_DIR: folder } = process.env;
export const stage = await new Stage(server, folder).open();
export const real = folder ? stage.url : server;
export const browser = await Browser.start(chromium);
export const checks = new Checks(browser);

// a model that is loaded, as a person would find it
await (await fetch(`${server}/models/load`, { method: "POST", body: JSON.stringify({ model: "turbotiny", keep_alive: -1 }) })).text();

/** A page on the stage, where this script answers. */
export async function on(script, options) {
  stage.reset();
  if (script) stage.on("/v1/chat/completions", script);
  return browser.page(stage.url, options);
}

/** The conversations that the browser keeps. */
export const stored = (page) =>
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

/** The text of an element, as it is shown. */
export const text = (locator) => locator.innerText();

/** Chooses a model and waits until it is there; true: it had to be loaded, which the page asked about. */
export async function model(page, id) {
  await page.selectOption("#model", id);
  const dialog = page.getByRole("dialog");
  const asked = await dialog.isVisible();
  if (asked) await dialog.getByRole("button", { name: "Load", exact: true }).click();
  await page.waitForFunction((id) => document.querySelector("#model").value === id && !document.querySelector("#model").disabled, id);
  await page.locator("#meter:visible").waitFor();
  return asked;
}
