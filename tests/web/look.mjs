// Every page on every screen in both colours: answered, without a complaint, not wider than the screen, taken a picture of; with
// axe; and whole without a script.

import { mkdirSync } from "node:fs";
import axe from "axe-core";
import { open, serious, visit } from "./browser.mjs";
import { check, ensure } from "./checks.mjs";
import { COLOURS, SCREENS } from "./pages.mjs";

const PICTURES = new URL("../../web-screenshots/", import.meta.url).pathname;

export async function look(browser, pages) {
  mkdirSync(PICTURES, { recursive: true });
  for (const { name: screen, ...options } of SCREENS) {
    for (const colour of COLOURS) {
      const { context, page, complaints } = await open(browser, { ...options, colorScheme: colour });
      for (const { name, path, status = 200 } of pages) {
        await check(`${name}, ${screen}, ${colour}`, async () => {
          complaints.length = 0;
          await visit(page, path, status);
          const wide = await page.evaluate(tooWide);
          const title = await page.title();
          await page.screenshot({ path: `${PICTURES}${name}-${screen}-${colour}.png`, fullPage: true });
          const found = serious(complaints, status);
          ensure(!found.length, found.join("\n"));
          ensure(!wide.length, `wider than the screen: ${wide.join(", ")}`);
          ensure(title && title !== "taken", `the title is ${JSON.stringify(title)}`);
        });
      }
      await context.close();
    }
  }
}

// What sticks out of the page on the right. What scrolls by itself may.
function tooWide() {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return [];
  const clips = (element) => {
    for (let up = element.parentElement; up; up = up.parentElement) {
      if (getComputedStyle(up).overflowX !== "visible") return true;
    }
    return false;
  };
  const out = [...document.body.querySelectorAll("*")].filter(
    (element) => element.getBoundingClientRect().right > root.clientWidth + 1 && !clips(element),
  );
  const name = (element) => `${element.tagName.toLowerCase()}.${element.getAttribute("class") ?? ""}`;
  return [`${root.scrollWidth} of ${root.clientWidth} px`, ...out.slice(0, 5).map(name)];
}

// In contexts of its own, in which the policy does not hold: axe writes styles while it looks.
export async function accessible(browser, pages) {
  const ways = [
    { name: "phone, light", ...SCREENS[0], colorScheme: "light" },
    { name: "desktop, dark", ...SCREENS[1], colorScheme: "dark" },
  ];
  // Each screen and each colour once finds nearly all; the rest takes minutes.
  if (process.env.SONDE_LONG) {
    ways.push({ name: "phone, dark", ...SCREENS[0], colorScheme: "dark" });
    ways.push({ name: "desktop, light", ...SCREENS[1], colorScheme: "light" });
  }
  for (const { name: way, ...options } of ways) {
    const { context, page } = await open(browser, { ...options, bypassCSP: true, reducedMotion: "reduce" });
    for (const { name, path, status = 200 } of pages) {
      await check(`${name} for axe, ${way}`, async () => {
        await visit(page, path, status);
        await page.evaluate(axe.source);
        const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
        const bad = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
        const words = bad.map(({ id, help, nodes }) => {
          const places = nodes.slice(0, 3).map((node) => `${node.target.join(" ")}: ${node.any[0]?.message ?? ""}`);
          return `${id}: ${help}, ${nodes.length} times\n${places.join("\n")}`;
        });
        ensure(!bad.length, words.join("\n"));
      });
    }
    await context.close();
  }
}

export async function withoutScript(browser, pages) {
  const { context, page } = await open(browser, { ...SCREENS[1], javaScriptEnabled: false });
  for (const { name, path, says, status = 200 } of pages) {
    await check(`${name} without a script`, async () => {
      const response = await page.goto(path);
      ensure(response.status() === status, `${response.status()}`);
      // Also what is folded: whoever reads without a script can unfold it.
      const text = (await page.locator("main").textContent()).replace(/\s+/g, " ");
      for (const words of says) {
        const said = words instanceof RegExp ? words.test(text) : text.includes(words);
        ensure(said, `nowhere ${words} in: ${text.slice(0, 600)}`);
      }
      for (const svg of await page.locator("main svg[role=img]").all()) {
        ensure(await svg.evaluate((svg) => svg.getAttribute("aria-label") || svg.getAttribute("aria-labelledby") || svg.querySelector("title")), "a picture has no name");
      }
      ensure((await page.locator("h1").count()) === 1, "not one heading of the first level");
    });
  }
  await context.close();
}

// Every link of the pages leads somewhere.
export async function links(browser, pages) {
  const { context, page } = await open(browser, SCREENS[1]);
  const seen = new Map();
  for (const { name, path, status = 200 } of pages) {
    await visit(page, path, status);
    const found = await page.locator("a[href]").evaluateAll((all) => all.map((a) => a.href));
    for (const href of found) {
      const url = new URL(href);
      // One of each sort will do: numbers differ, and queries.
      const sort = url.pathname.replace(/\d+/g, "N").replace(/[A-Z]{2}$/, "CC");
      const here = new URL(page.url());
      if (url.origin === here.origin && url.pathname !== here.pathname && !seen.has(sort)) seen.set(sort, { url: url.pathname + url.search, from: name });
    }
  }
  for (const { url, from } of seen.values()) {
    // The file of a whole measurement is long, and its address is known to be good when it begins.
    await check(`${url}, where ${from} leads`, async () => {
      const answer = await page.request.get(url, { maxRedirects: 3 });
      ensure(answer.ok(), `${answer.status()}`);
    });
  }
  await context.close();
}
