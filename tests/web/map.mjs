// Into the map of probes: by buttons, keys and address.

import { open, serious, visit } from "./browser.mjs";
import { check, ensure } from "./checks.mjs";
import { SCREENS } from "./pages.mjs";

const said = (page, pattern) => page.waitForFunction((pattern) => new RegExp(pattern).test(document.querySelector("figure.map .readout").textContent), pattern);
const text = (page) => page.locator("figure.map .readout").textContent();

export async function map(browser) {
  const { context, page, complaints } = await open(browser, SCREENS[1]);
  await check("map: the script puts places where the server's picture has them", async () => {
    await visit(page, "/probes?country=DE");
    const far = await page.evaluate(async () => {
      const script = document.querySelector("script[src$='js/map.js']").src;
      const { place, unplace } = await import(new URL("projection.js", script).href);
      const answer = await fetch(document.querySelector("figure.map").dataset.places);
      const { places } = await answer.json();
      const dots = [...document.querySelectorAll("figure.map svg.chart .dots circle")].map((dot) => [dot.cx.baseVal.value, dot.cy.baseVal.value]);
      if (dots.length !== places.length) return `${dots.length} dots for ${places.length} places`;
      const distances = places.map(([longitude, latitude]) => {
        const [x, y] = place(latitude, longitude);
        const [back] = unplace(x, y);
        return Math.max(Math.abs(back - latitude), Math.min(...dots.map(([cx, cy]) => Math.hypot(cx - x, cy - y))));
      });
      return Math.max(...distances);
    });
    ensure(far < 0.02, `one is ${far} away`);
  });
  await check("map: closer every place has a dot, and the address says where one looks", async () => {
    await visit(page, "/probes");
    const canvas = page.locator("figure.map canvas");
    ensure(!(await canvas.isVisible()), "a canvas is there before anybody asked");
    await page.getByRole("button", { name: "Closer", exact: true }).click();
    await said(page, "^In view: .* places");
    ensure(await canvas.isVisible(), "there is no canvas");
    await page.waitForFunction(() => location.hash.startsWith("#map="));
    const [address, words] = [page.url(), await text(page)];
    await page.goto("about:blank");
    await visit(page, address);
    await said(page, "^In view: .* places");
    ensure((await text(page)) === words, `${await text(page)}, not ${words}`);
    await page.getByRole("button", { name: "All", exact: true }).click();
    await page.waitForFunction(() => location.hash === "");
    ensure(!(await canvas.isVisible()), "the canvas stays");
  });
  await check("map: keys go closer, name a place, and lead to its probes", async () => {
    await visit(page, "/probes");
    await page.locator("figure.map svg.chart").focus();
    await page.keyboard.press("+");
    await page.keyboard.press("+");
    await said(page, "^In view|connected, at");
    await page.keyboard.press("ArrowUp");
    await said(page, "connected, at");
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/probes\?near=/);
    ensure(/[1-9]/.test(await page.locator("main .lead").textContent()), "the list is empty");
  });
  await check("map: no complaint", () => ensure(!serious(complaints).length, complaints.join("; ")));
  await context.close();
}
