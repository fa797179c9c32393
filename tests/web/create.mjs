// From the form to results that come in by themselves, with a probe that really measures; pause; a server that starts again.

import { facts, open, serious, visit } from "./browser.mjs";
import { check, ensure } from "./checks.mjs";
import { SCREENS } from "./pages.mjs";

export async function create(browser) {
  const probe = String(facts.real_probes[0]);
  const { context, page, complaints } = await open(browser, SCREENS[1]);
  let made = null;

  await check("signing in with a wrong password is refused in words", async () => {
    await visit(page, "/sign-in?next=/new");
    await page.getByLabel("Mail address").fill(facts.email);
    await page.getByLabel("Password").fill("not the password");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor();
  });

  await check("somebody signs in", async () => {
    await visit(page, "/sign-in?next=/new");
    await page.getByLabel("Mail address").fill(facts.email);
    await page.getByLabel("Password").fill(facts.password);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL("**/new");
    await page.getByText(facts.email).first().waitFor();
  });

  await check("the form says what is wrong, at its place, and keeps what was written", async () => {
    await visit(page, "/new");
    await page.getByRole("textbox", { name: "Target", exact: true }).fill("192.168.1.1");
    await page.getByRole("radio", { name: "IPv4", exact: true }).check();
    await choose(page, probe);
    await page.getByRole("button", { name: /Show cost/ }).click();
    const problems = page.locator("#problems");
    await problems.waitFor();
    ensure(await problems.evaluate((element) => element === document.activeElement || element.contains(document.activeElement)), "the summary has no focus");
    ensure((await page.getByRole("textbox", { name: "Target", exact: true }).inputValue()) === "192.168.1.1", "the target is gone");
  });

  await check("form, preview, measurement, live results", async () => {
    complaints.length = 0;
    await visit(page, "/new");
    await page.getByRole("textbox", { name: "Target", exact: true }).fill("127.0.0.1");
    await page.getByRole("radio", { name: "IPv4", exact: true }).check();
    await choose(page, probe);
    await page.getByRole("radio", { name: "again and again" }).check();
    await page.getByLabel("Seconds between runs").fill("2");
    await page.getByRole("button", { name: /Show cost/ }).click();
    const preview = page.locator("#preview");
    await preview.waitFor();
    ensure(/credit/i.test(await preview.textContent()), "no word of credits");
    await preview.getByRole("button", { name: "Create it" }).click();
    await page.waitForURL(/\/measurements\/\d+$/);
    made = page.url();
    const rows = page.locator(".live table.results tbody tr");
    await page.waitForFunction(() => document.querySelectorAll(".live table.results tbody tr").length >= 2);
    ensure((await rows.first().textContent()).includes(probe), "the newest row is not the probe's");
    const found = serious(complaints);
    ensure(!found.length, found.join("\n"));
  });

  await check("pause holds the rows, and going on shows what came meanwhile", async () => {
    ensure(made, "nothing was made");
    const button = page.locator("button.pause");
    await button.click();
    const before = await page.locator(".live table.results tbody").textContent();
    await page.waitForFunction(() => /\d+ new/.test(document.querySelector(".live-state").textContent));
    ensure((await page.locator(".live table.results tbody").textContent()) === before, "rows came all the same");
    await button.click();
    await page.mouse.move(0, 0);
    await page.waitForFunction((before) => document.querySelector(".live table.results tbody").textContent !== before, before);
  });

  await check("results go on after the server has started again", async () => {
    ensure(made, "nothing was made");
    const count = () => page.evaluate(() => document.querySelectorAll(".live table.results tbody tr").length);
    const before = await count();
    process.kill(facts.supervisor, "SIGUSR1");
    await page.waitForFunction(() => document.querySelector(".live-state").textContent === "Connecting again …");
    await page.waitForFunction((before) => document.querySelectorAll(".live table.results tbody tr").length > before + 1, before);
  });

  await check("one key pasted instead of signing in makes a one-off, and the page keeps no key", async () => {
    const { context, page } = await open(browser, { ...SCREENS[1], javaScriptEnabled: false });
    await page.goto("/new");
    await page.getByRole("textbox", { name: "Target", exact: true }).fill("127.0.0.1");
    await page.getByRole("radio", { name: "IPv4", exact: true }).check();
    await choose(page, probe);
    await page.locator("#key").fill(facts.key);
    await page.getByRole("button", { name: /Show cost/ }).click();
    await page.locator("#preview").waitFor();
    ensure(!(await page.content()).includes(facts.key), "the page repeats the key");
    await page.locator("#key-again").fill(facts.key);
    await page.getByRole("button", { name: "Create it" }).click();
    await page.waitForURL(/\/measurements\/\d+$/);
    ensure(!page.url().includes(facts.key), "the key is in the address");
    await context.close();
  });
  await context.close();
}

// This probe and no other.
async function choose(page, probe) {
  const place = page.locator("fieldset.place").first();
  await place.getByLabel("Place").selectOption("probes");
  await place.getByLabel("Which").fill(probe);
  await place.getByLabel("How many").fill("1");
}
