// Figures of the site; see tests/bench/README.md. Each is the median of some runs, in a tab of its own without a cache.

import { readFileSync } from "node:fs";
import { facts, launch } from "./browser.mjs";

const RUNS = 5;
const BUDGET = 150_000;
const UPLOT = new URL("../vendor/uPlot.js", import.meta.url).pathname;

const median = (values) => [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)];
const line = (what, value, more = "") => console.log(`${what.padEnd(58)} ${value.padStart(10)}  ${more}`);
const ms = (value) => (value === undefined || Number.isNaN(value) ? "–" : `${value.toFixed(value < 10 ? 1 : 0)} ms`);
const kb = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;

// A page in a fresh tab: bytes by type of what came over the wire until it was drawn, and when that was.
async function load(browser, path) {
  const context = await browser.newContext({ baseURL: facts.base, viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(120_000);
  const page = await context.newPage();
  const wire = await context.newCDPSession(page);
  await wire.send("Network.enable");
  const types = new Map();
  const bytes = {};
  wire.on("Network.responseReceived", ({ requestId, type }) => types.set(requestId, type));
  wire.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    const type = types.get(requestId) ?? "Other";
    bytes[type] = (bytes[type] ?? 0) + encodedDataLength;
  });
  await page.goto(path, { waitUntil: "load" });
  const times = await page.evaluate(async () => {
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const [navigation] = performance.getEntriesByType("navigation");
    const paint = performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
    const nodes = document.querySelectorAll("*").length;
    return { answered: navigation.responseStart - navigation.requestStart, paint, drawn: performance.now(), nodes };
  });
  return { context, page, bytes, ...times };
}

async function weigh(browser, name, path) {
  const { context, bytes, nodes } = await load(browser, path);
  await context.close();
  const sum = Object.values(bytes).reduce((sum, part) => sum + part, 0);
  const parts = Object.entries(bytes).map(([type, part]) => `${type.toLowerCase()} ${kb(part)}`);
  line(`${name}: over the wire, of ${kb(BUDGET)}`, kb(sum), `${parts.join(", ")}; ${nodes} elements`);
}

async function time(browser, name, path) {
  const all = [];
  for (let n = 0; n < RUNS; n += 1) {
    const { context, ...times } = await load(browser, path);
    await context.close();
    all.push(times);
  }
  line(`${name}: the answer begins`, ms(median(all.map(({ answered }) => answered))), `the first time ${ms(all[0].answered)}`);
  line(`${name}: first paint`, ms(median(all.map(({ paint }) => paint))));
  line(`${name}: loaded and drawn`, ms(median(all.map(({ drawn }) => drawn))), `${all[0].nodes} elements`);
}

async function answer(name, path) {
  const times = [];
  let size = 0;
  for (let n = 0; n < RUNS; n += 1) {
    const began = performance.now();
    const response = await fetch(facts.base + path);
    size = (await response.arrayBuffer()).byteLength;
    times.push(performance.now() - began);
    if (!response.ok) return line(name, "–", `${response.status}`);
  }
  line(name, ms(median(times)), `the first time ${ms(times[0])}; ${kb(size)} unpacked`);
}

// Milliseconds a frame while the first such picture is dragged to and fro.
async function drag(page, selector) {
  const target = page.locator(selector).first();
  if (!(await target.count())) return NaN;
  await target.scrollIntoViewIfNeeded();
  const box = await target.boundingBox();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.evaluate(() => {
    window.sondeFrames = [];
    let last = performance.now();
    const frame = (now) => {
      window.sondeFrames.push(now - last);
      last = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  await page.mouse.move(x, y);
  await page.mouse.down();
  for (let n = 0; n < 40; n += 1) await page.mouse.move(x + 60 * Math.sin(n / 4), y);
  await page.mouse.up();
  return median(await page.evaluate(() => window.sondeFrames.slice(2)));
}

// The same drawn plainly, in an empty tab: what is paid for anything at all.
async function plainly(browser, name, draw, { script, values } = {}) {
  const all = [];
  for (let n = 0; n < RUNS; n += 1) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
    const page = await context.newPage();
    await page.setContent("<body></body>");
    if (script) await page.evaluate(script);
    all.push(await page.evaluate(draw, values));
    await context.close();
  }
  const [{ pan }] = all;
  line(name, ms(median(all.map(({ drawn }) => drawn))), pan === undefined ? "" : `${ms(pan)} a frame while it moves`);
}

async function circles() {
  const space = "http://www.w3.org/2000/svg";
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const began = performance.now();
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 1000 500");
  const group = document.createElementNS(space, "g");
  for (let n = 0; n < 20_000; n += 1) {
    const circle = document.createElementNS(space, "circle");
    circle.setAttribute("cx", (n * 37) % 1000);
    circle.setAttribute("cy", (n * 91) % 500);
    circle.setAttribute("r", 2);
    group.append(circle);
  }
  svg.append(group);
  document.body.append(svg);
  await frame();
  await frame();
  const drawn = performance.now() - began;
  const from = performance.now();
  for (let n = 0; n < 20; n += 1) {
    group.setAttribute("transform", `translate(${n} 0)`);
    await frame();
  }
  return { drawn, pan: (performance.now() - from) / 20 };
}

async function curves({ lines, points }) {
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const times = Array.from({ length: points }, (_, n) => n * 240);
  const values = (l) => times.map((_, n) => 20 + ((l * 7919 + n * 104_729) % 100));
  const data = [times, ...Array.from({ length: lines }, (_, l) => values(l))];
  const series = [{}, ...Array.from({ length: lines }, () => ({ stroke: "#0b5cad" }))];
  const began = performance.now();
  new window.uPlot({ width: 1000, height: 300, series, legend: { show: false } }, data, document.body);
  await frame();
  await frame();
  return { drawn: performance.now() - began };
}

// What is vendored is a module; for an empty tab it is made a global.
function uplot() {
  const text = readFileSync(UPLOT, "utf8");
  const global = text.replace(/export\s*\{\s*(\w+)\s+as\s+default\s*\};?/, "window.uPlot = $1;").replace(/export default (\w+);?/, "window.uPlot = $1;");
  return `(() => { ${global} })()`;
}

const browser = await launch();
const { ping, traceroute } = facts.measurements;
console.log(`${facts.reports} reports, ${facts.votes} votes; Chromium ${browser.version()}; medians of ${RUNS}`);
await answer("GET /healthz", "/healthz");
for (const [name, path] of [["front", "/"], ["IPv6", "/ipv6"], ["probes", "/probes"], ["ping", `/measurements/${ping}`], ["form", "/new"]]) {
  await weigh(browser, name, path);
}
await time(browser, "front", "/");
await time(browser, "probes", "/probes");
const { context, page } = await load(browser, "/probes");
line("probes: a frame while the map is dragged", ms(await drag(page, "main figure canvas, main figure svg")));
await context.close();
await plainly(browser, "20,000 circles of plain SVG, to paint", circles);
await time(browser, "ping over a day", `/measurements/${ping}`);
await time(browser, "traceroute over a day", `/measurements/${traceroute}`);
await answer("ping: its summary by the API", `/api/v2/measurements/${ping}/summary/`);
await answer("ping: its page for Prometheus", `/api/v2/measurements/${ping}/metrics/`);
await answer("ping: all results by the API", `/api/v2/measurements/${ping}/results/?format=txt`);
await plainly(browser, "uPlot, 1,000 lines of 360 points", curves, { script: uplot(), values: { lines: 1000, points: 360 } });
await plainly(browser, "uPlot, 5 lines of 360 points", curves, { script: uplot(), values: { lines: 5, points: 360 } });
await browser.close();
