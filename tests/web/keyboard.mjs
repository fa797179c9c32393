// Without a mouse.

import { open, visit } from "./browser.mjs";
import { check, ensure } from "./checks.mjs";
import { SCREENS } from "./pages.mjs";

export async function keyboard(browser, pages) {
  const { context, page } = await open(browser, SCREENS[1]);
  await check("the first tab stop skips to the content", async () => {
    await visit(page, pages[0].path);
    await page.keyboard.press("Tab");
    const first = await page.evaluate(() => document.activeElement.textContent);
    ensure(/skip/i.test(first), `it is ${JSON.stringify(first)}`);
    await page.keyboard.press("Enter");
    ensure((await page.evaluate(() => document.activeElement.id)) === "main", "the content has no focus");
  });
  for (const { name, path } of pages.filter((page) => page.curve)) {
    await check(`${name}: arrows move along the curve`, async () => {
      await visit(page, path);
      const curve = page.locator("svg[tabindex='0']:visible").first();
      await curve.focus();
      const readout = page.locator(".readout").first();
      ensure((await readout.getAttribute("aria-live")) === "polite", "the values are not said");
      await page.keyboard.press("End");
      await page.waitForFunction((element) => element.textContent.length > 0, await readout.elementHandle());
      const end = await readout.textContent();
      await page.keyboard.press("ArrowLeft");
      await page.waitForFunction(([element, end]) => element.textContent !== end, [await readout.elementHandle(), end]);
      ensure(/UTC|\d\d:\d\d|\d{4}-\d\d-\d\d/.test(await readout.textContent()), `it says ${await readout.textContent()}`);
      await page.keyboard.press("Escape");
      await page.waitForFunction((element) => element.textContent === "", await readout.elementHandle());
    });
  }
  await check("the form can be filled in without a mouse", async () => {
    await visit(page, "/new");
    const names = new Set();
    for (let stops = 0; stops < 200; stops += 1) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate(() => ({ name: document.activeElement.getAttribute("name"), body: document.activeElement === document.body }));
      if (at.name) names.add(at.name);
      if (at.body || (names.has("step") && names.has("key"))) break;
    }
    for (const name of ["type", "target", "af", "key", "step"]) ensure(names.has(name), `${name} is out of reach: ${[...names]}`);
  });
  await context.close();
}
