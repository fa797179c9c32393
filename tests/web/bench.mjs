// Figures of the site; see tests/bench/README.md. Each is the median of some runs, in a tab of its own without a cache.

import { readdirSync, readFileSync } from "node:fs";
import { facts, launch } from "./browser.mjs";

const RUNS = 5;
const BUDGET = 150_000;
const UPLOT = new URL("../vendor/uPlot.js", import.meta.url).pathname;

const median = (values) => [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)];
const line = (what, value, more = "") => console.log(`${what.padEnd(58)} ${value.padStart(10)}  ${more}`);
const ms = (value) => (value === undefined || Number.isNaN(value) ? "–" : `${value.toFixed(value < 10 ? 1 : 0)} ms`);
const kb = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;

// The server's process: the one that `sonde-look` has started and that serves.
const server = readdirSync("/proc").find((pid) => {
  try {
    const parent = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ")[1];
    return Number(parent) === facts.supervisor && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("\0serve\0");
  } catch {
    return false;
  }
});

// Milliseconds that its threads have computed so far; the kernel counts hundredths of a second.
const computed = () => {
  const [user, system] = readFileSync(`/proc/${server}/stat`, "utf8").split(") ")[1].split(" ").slice(11, 13);
  return (Number(user) + Number(system)) * 10;
};

// A page in a fresh tab: bytes by type of what came over the wire until it was drawn, when that was, and what the browser did for it.
async function load(browser, path) {
  const context = await browser.newContext({ baseURL: facts.base, viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(120_000);
  const page = await context.newPage();
  const wire = await context.newCDPSession(page);
  await wire.send("Network.enable");
  await wire.send("Performance.enable");
  const types = new Map();
  const bytes = {};
  wire.on("Network.responseReceived", ({ requestId, type, response }) => {
    const encoding = Object.entries(response.headers).find(([name]) => name.toLowerCase() === "content-encoding")?.[1];
    types.set(requestId, `${type.toLowerCase()} (${encoding ?? "plain"})`);
  });
  wire.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    const type = types.get(requestId) ?? "other";
    bytes[type] = (bytes[type] ?? 0) + encodedDataLength;
  });
  await page.goto(path, { waitUntil: "load" });
  const times = await page.evaluate(async () => {
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const [navigation] = performance.getEntriesByType("navigation");
    const paint = performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
    const nodes = document.querySelectorAll("*").length;
    const { domContentLoadedEventEnd: parsed, loadEventEnd: loaded } = navigation;
    return { answered: navigation.responseStart - navigation.requestStart, parsed, loaded, paint, drawn: performance.now(), nodes };
  });
  const { metrics } = await wire.send("Performance.getMetrics");
  const spent = (name) => 1000 * (metrics.find((metric) => metric.name === name)?.value ?? NaN);
  const work = { script: spent("ScriptDuration"), layout: spent("LayoutDuration") + spent("RecalcStyleDuration"), all: spent("TaskDuration") };
  return { context, page, bytes, ...times, ...work };
}

async function weigh(browser, name, path) {
  const { context, bytes, nodes } = await load(browser, path);
  await context.close();
  const sum = Object.values(bytes).reduce((sum, part) => sum + part, 0);
  const parts = Object.entries(bytes).map(([type, part]) => `${type} ${kb(part)}`);
  line(`${name}: over the wire, of ${kb(BUDGET)}`, kb(sum), `${parts.join(", ")}; ${nodes} elements`);
}

async function time(browser, name, path) {
  const all = [];
  for (let n = 0; n < RUNS; n += 1) {
    const { context, ...times } = await load(browser, path);
    await context.close();
    all.push(times);
  }
  const middle = (of) => ms(median(all.map(of)));
  line(`${name}: the answer begins`, middle(({ answered }) => answered), `the first time ${ms(all[0].answered)}`);
  line(`${name}: first paint`, middle(({ paint }) => paint), `parsed ${middle(({ parsed }) => parsed)}, loaded ${middle(({ loaded }) => loaded)}`);
  line(
    `${name}: loaded and drawn`,
    middle(({ drawn }) => drawn),
    `${all[0].nodes} elements; scripts ${middle(({ script }) => script)}, layout ${middle(({ layout }) => layout)}, all tasks ${middle(({ all }) => all)}`,
  );
}

// What a page or an answer costs without a browser: until its last byte, and what the server computed for it.
async function answer(name, path, runs = RUNS) {
  const times = [];
  let size = 0;
  const before = computed();
  for (let n = 0; n < runs; n += 1) {
    const began = performance.now();
    const response = await fetch(facts.base + path, { headers: { "accept-encoding": "gzip" } });
    size = (await response.arrayBuffer()).byteLength;
    times.push(performance.now() - began);
    if (!response.ok) return line(name, "–", `${response.status}`);
  }
  const each = (computed() - before) / runs;
  line(name, ms(median(times)), `the first time ${ms(times[0])}; ${kb(size)} unpacked; the server computes ${ms(each)}`);
}

// Milliseconds between the frames while something is done: the middle one, and the longest.
async function frames(page, act) {
  await page.evaluate(() => {
    window.sondeFrames = [];
    let last = performance.now();
    const frame = (now) => {
      window.sondeFrames.push(now - last);
      last = now;
      window.sondeFrame = requestAnimationFrame(frame);
    };
    window.sondeFrame = requestAnimationFrame(frame);
  });
  await act();
  const all = await page.evaluate(() => {
    cancelAnimationFrame(window.sondeFrame);
    return window.sondeFrames.slice(2);
  });
  return [ms(median(all)), `the longest ${ms(Math.max(...all))}, of ${all.length}`];
}

// A pointer that moves to and fro over something, with its button down or not.
async function sweep(page, target, isDown) {
  const box = await target.boundingBox();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.mouse.move(x, y);
  if (isDown) await page.mouse.down();
  for (let n = 0; n < 40; n += 1) await page.mouse.move(x + (isDown ? 60 : box.width / 3) * Math.sin(n / 4), y + n);
  if (isDown) await page.mouse.up();
}

// Into the map of probes, and about in it.
async function into(browser) {
  const { context, page } = await load(browser, "/probes");
  const map = page.locator("figure.map .map-box");
  await map.scrollIntoViewIfNeeded();
  const button = (name) => page.getByRole("button", { name, exact: true });
  const began = performance.now();
  await button("Closer").click();
  // It says so when the picture has stood still for a fifth of a second.
  await page.waitForFunction(() => /^In view: .* places/.test(document.querySelector("figure.map .readout").textContent));
  line("probes: closer for the first time, with every place", ms(performance.now() - began - 200), await page.locator("figure.map .readout").textContent());
  line("probes: a frame while one goes closer and farther", ...(await frames(page, async () => {
    for (const name of ["Closer", "Closer", "Farther", "Closer", "Farther", "Farther"]) await button(name).click();
  })));
  await button("Closer").click();
  line("probes: a frame while the map is dragged", ...(await frames(page, () => sweep(page, map, true))));
  line("probes: a frame while a pointer passes over dots", ...(await frames(page, () => sweep(page, map, false))));
  await context.close();
}

// Over what a measurement shows, and into its curve.
async function over(browser, path) {
  const { context, page } = await load(browser, path);
  const bands = page.locator(".bands-chart");
  await bands.scrollIntoViewIfNeeded();
  line("ping: a frame while a pointer passes over the bands", ...(await frames(page, () => sweep(page, bands, false))));
  const heat = page.locator(".heat-chart canvas");
  await heat.waitFor();
  await heat.scrollIntoViewIfNeeded();
  line("ping: a frame while it passes over 1,000 probes' rows", ...(await frames(page, () => sweep(page, heat, false))));
  const zoom = bands.getByRole("button").first();
  await zoom.scrollIntoViewIfNeeded();
  const began = performance.now();
  await zoom.click();
  await bands.locator(".u-wrap canvas").waitFor();
  line("ping: uPlot in place of the bands", ms(performance.now() - began));
  await context.close();
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
const PAGES = [["front", "/"], ["IPv6", "/ipv6"], ["probes", "/probes"], ["ping", `/measurements/${ping}`], ["form", "/new"]];
for (const [name, path] of PAGES) await weigh(browser, name, path);
for (const [name, path] of PAGES) await answer(`${name}: the page alone`, path);
await answer("probes: the page of a country", "/probes?country=DE");
await answer("probes: every place by the API", "/api/v2/probes/places/");
await answer("ping: its summary by the API", `/api/v2/measurements/${ping}/summary/`);
await answer("ping: its page for Prometheus", `/api/v2/measurements/${ping}/metrics/`);
await time(browser, "front", "/");
await time(browser, "probes", "/probes");
await time(browser, "probes of a country", "/probes?country=DE");
await into(browser);
await plainly(browser, "20,000 circles of plain SVG, to paint", circles);
await time(browser, "ping over a day", `/measurements/${ping}`);
await over(browser, `/measurements/${ping}`);
await time(browser, "traceroute over a day", `/measurements/${traceroute}`);
await plainly(browser, "uPlot, 1,000 lines of 360 points", curves, { script: uplot(), values: { lines: 1000, points: 360 } });
await plainly(browser, "uPlot, 5 lines of 360 points", curves, { script: uplot(), values: { lines: 5, points: 360 } });
// Once: it is hundreds of megabytes.
await answer("ping: all results by the API", `/api/v2/measurements/${ping}/results/?format=txt`, 1);
await browser.close();
