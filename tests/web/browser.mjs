// A browser and what it complains of.

import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

// Where everything is: `sonde-look` tells.
export const facts = JSON.parse(readFileSync(process.env.SONDE_LOOK, "utf8"));

// Far beyond what anything takes; nothing here is about how fast something is.
export const PATIENCE = 30_000;

export async function launch() {
  const executablePath = process.env.SONDE_CHROMIUM ?? "/usr/bin/chromium";
  // The sandbox of the browser wants a user other than root; what it opens here is our own server.
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

// A tab whose complaints are collected: errors of scripts and of the console, violations of the policy, dialogs.
export async function open(browser, options = {}) {
  const context = await browser.newContext({ baseURL: facts.base, locale: "en-GB", timezoneId: "UTC", ...options });
  context.setDefaultTimeout(PATIENCE);
  const complaints = [];
  await context.exposeBinding("sondeViolation", (_, words) => complaints.push(words));
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      window.sondeViolation(`policy: ${event.violatedDirective} of ${event.blockedURI || event.sourceFile}:${event.lineNumber}`);
    });
  });
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") {
      complaints.push(`console: ${message.text()} (${message.location().url})`);
    }
  });
  page.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith("http") && url.origin !== facts.base) complaints.push(`asked elsewhere: ${url.origin}`);
  });
  return { context, page, complaints };
}

// Opens a page and waits until it is whole; a stream that stays open is no part of that.
export async function visit(page, path, status = 200) {
  const response = await page.goto(path, { waitUntil: "load" });
  if (response.status() !== status) throw new Error(`${path}: ${response.status()}, not ${status}`);
  await page.evaluate(() => document.fonts.ready);
  return response;
}

// What a page that is asked for and missing makes the console say is no complaint.
export function serious(complaints, status = 200) {
  return complaints.filter((words) => status === 200 || !words.includes(`status of ${status}`));
}
