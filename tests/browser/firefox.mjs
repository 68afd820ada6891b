/**
 * Drives Firefox for the Python tests: one JSON order a line on stdin, one answer a line on
 * stdout. Ends, with its browser, when stdin does.
 */

import { createInterface } from "node:readline";
import puppeteer from "puppeteer-core";

const POLL = 20;

const browser = await puppeteer.launch({
  browser: "firefox",
  executablePath: process.argv[2],
  extraPrefsFirefox: JSON.parse(process.argv[3] ?? "{}"),
});
const contexts = new Map();
const pages = new Map();
let lastId = 0;

/** Remember `thing` in `map`; what tests know of it is the number. */
function keep(map, thing) {
  map.set((lastId += 1), thing);
  return lastId;
}

/** As Playwright does it: an expression, or a function that is called with `argument`. */
function evaluate(page, expression, argument = null) {
  return page.evaluate(`(() => {
    const given = (${expression});
    return typeof given === "function" ? given(${JSON.stringify(argument)}) : given;
  })()`);
}

const orders = {
  context: async () => keep(contexts, await browser.createBrowserContext()),
  async page({ context, script }) {
    const page = await contexts.get(context).newPage();
    const console = [];
    page.on("console", (message) => {
      if (["error", "warn", "warning"].includes(message.type())) {
        console.push(`${message.type()}: ${message.text()}`);
      }
    });
    page.on("pageerror", (error) => console.push(`thrown: ${error.message}`));
    if (script) await page.evaluateOnNewDocument(script);
    const id = keep(pages, page);
    page.said = console;
    return id;
  },
  said: ({ page }) => pages.get(page).said,
  goto: async ({ page, url }) => void (await pages.get(page).goto(url)),
  reload: async ({ page }) => void (await pages.get(page).reload()),
  back: async ({ page }) => void (await pages.get(page).goBack()),
  cookie: ({ context, cookie }) => contexts.get(context).setCookie(cookie),
  screenshot: async ({ page, ...given }) => void (await pages.get(page).screenshot(given)),
  evaluate: ({ page, expression, argument }) =>
    evaluate(pages.get(page), expression, argument),
  async wait({ page, expression, argument, timeout }) {
    const deadline = Date.now() + timeout;
    for (;;) {
      const value = await evaluate(pages.get(page), expression, argument);
      if (value) return value;
      if (Date.now() > deadline) throw new Error(`not within ${timeout} ms: ${expression}`);
      await new Promise((resolve) => setTimeout(resolve, POLL));
    }
  },
  close: ({ page }) => pages.get(page).close(),
  closeContext: ({ context }) => contexts.get(context).close(),
};

console.log(JSON.stringify({ value: await browser.version() }));
for await (const line of createInterface({ input: process.stdin })) {
  const { order, ...given } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await orders[order](given)) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
