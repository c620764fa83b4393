// The web page in a real browser: against the real server with the embedded model, and where answers must be exact against a
// stage in front of it. One line per check. TURBOQUANT_URL: the server; CHROMIUM: the browser; WEB_DIR: files of the page from there.

import { browser, checks, real, stage } from "./setup.mjs";

// one after the other: they share the stage and the server
await import("./real.mjs");
await import("./played.mjs");
await import("./trouble.mjs");
await import("./views.mjs");

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
