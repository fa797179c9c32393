// The bands as a chart to zoom into and to read off, in place of the picture that the server made, when somebody asks for it. One tab
// stop: arrows move the cursor, Home and End go to the ends, Escape lets go, + and − zoom, 0 shows all.

import { button } from "./button.js";
import { css } from "./colour.js";
import { duration, moment } from "./format.js";

const SAY_AFTER_MS = 300;

for (const root of document.querySelectorAll("[data-bands]")) offer(root);

function offer(root) {
  const opener = button("Zoom and read values", async () => {
    opener.disabled = true;
    try {
      const [{ default: Plot }, answer] = await Promise.all([
        import("../vendor/uplot/uPlot.js"),
        fetch(root.dataset.bands, { headers: { accept: "application/json" } }),
      ]);
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      await style();
      show(root, Plot, await answer.json());
      opener.remove();
    } catch (error) {
      opener.textContent = `Zooming is not to be had: ${error.message}`;
    }
  });
  root.append(opener);
}

// The chart's own style, which only those load who zoom.
function style() {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL("../vendor/uplot/uPlot.css", import.meta.url).href;
  const loaded = new Promise((resolve) => {
    link.addEventListener("load", resolve);
    link.addEventListener("error", resolve);
  });
  document.head.append(link);
  return loaded;
}

// Each bin is drawn as wide as it lasted, so it has a point at both ends; the gap between two bins without numbers stays one.
function columns(summary) {
  const times = [];
  const numbers = { min: [], p25: [], median: [], p75: [], max: [] };
  for (const bin of summary.bins) {
    times.push(bin.start, bin.start + summary.step - 1);
    for (const [name, list] of Object.entries(numbers)) list.push(bin[name], bin[name]);
  }
  return [times, numbers.max, numbers.p75, numbers.median, numbers.p25, numbers.min];
}

function show(root, Plot, summary) {
  const text = (value) => (value === null || value === undefined ? "–" : summary.unit === "ms" ? duration(value) : `${Math.round(value * 100) / 100}`);
  const readout = document.createElement("p");
  readout.className = "readout";
  readout.setAttribute("aria-live", "polite");
  const frame = document.createElement("div");
  frame.tabIndex = 0;
  frame.setAttribute("role", "group");
  frame.setAttribute("aria-label", "Chart. Arrow keys move through the bins, Home and End to the ends, plus and minus zoom, 0 shows all, Escape lets go.");
  const bar = document.createElement("p");
  bar.className = "actions";
  root.replaceChildren(frame, readout, bar);

  let plot = null;
  let at = null;
  let timer = 0;
  const say = (bin) => {
    const lost = bin.sent - bin.received;
    const what =
      bin.state === "none" ? "not measured"
      : bin.state === "failed" ? `${bin.failed} runs could not be carried out`
      : bin.state === "lost" ? `all of ${bin.sent} lost`
      : `median ${text(bin.median)}, half between ${text(bin.p25)} and ${text(bin.p75)}, all between ${text(bin.min)} and ${text(bin.max)}; ${lost} of ${bin.sent} lost`;
    clearTimeout(timer);
    timer = setTimeout(() => (readout.textContent = `${moment(bin.start)}: ${what}; ${bin.probes} probes`), SAY_AFTER_MS);
  };

  const make = () => {
    const size = { width: Math.max(280, root.clientWidth), height: root.clientWidth < 500 ? 220 : 320 };
    const main = root.dataset.family === "v4" ? "--v4" : "--v6";
    const muted = css("--muted");
    const axis = { stroke: muted, grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line") } };
    const line = (label, more) => ({ label, stroke: "transparent", points: { show: false }, spanGaps: false, value: (_, value) => text(value), ...more });
    const values = summary.bins.flatMap((bin) => (bin.median === null ? [] : [bin.median])).sort((a, b) => a - b);
    const most = Math.max(...summary.bins.map((bin) => bin.max ?? -Infinity));
    const least = Math.min(...summary.bins.map((bin) => bin.min ?? Infinity));
    const wide = least > 0 && most > 20 * (values[values.length >> 1] ?? most);
    const options = {
      ...size,
      tzDate: (stamp) => Plot.tzDate(new Date(stamp * 1000), "UTC"),
      scales: { x: { time: true }, y: { distr: wide ? 3 : 1 } },
      cursor: { drag: { x: true, y: false }, points: { show: false } },
      legend: { show: false },
      axes: [axis, { ...axis, size: 60, label: `${summary.unit ?? ""}${wide ? ", logarithmic" : ""}`, values: (_, list) => list.map((value) => (value === null ? "" : String(value))) }],
      series: [{}, line("greatest"), line("three quarters"), line("median", { stroke: css(main), width: 2 }), line("a quarter"), line("least")],
      bands: [
        { series: [1, 5], fill: css(main, 0.18) },
        { series: [2, 4], fill: css(main, 0.3) },
      ],
      hooks: {
        setCursor: [
          (self) => {
            const index = self.cursor.idx;
            if (index === null || index === undefined) return;
            const bin = summary.bins[index >> 1];
            if (bin && index >> 1 !== at) {
              at = index >> 1;
              say(bin);
            }
          },
        ],
      },
    };
    plot?.destroy();
    frame.replaceChildren();
    plot = new Plot(options, columns(summary), frame);
  };

  const first = summary.bins[0]?.start ?? 0;
  const last = (summary.bins.at(-1)?.start ?? 0) + summary.step;
  const zoom = (factor) => {
    const { min, max } = plot.scales.x;
    const middle = at === null ? (min + max) / 2 : summary.bins[at].start + summary.step / 2;
    const half = Math.max(summary.step, ((max - min) * factor) / 2);
    plot.setScale("x", { min: Math.max(first, middle - half), max: Math.min(last, middle + half) });
  };
  const all = () => plot.setScale("x", { min: first, max: last });
  const go = (to) => {
    at = Math.min(summary.bins.length - 1, Math.max(0, to));
    const bin = summary.bins[at];
    plot.setCursor({ left: plot.valToPos(bin.start + summary.step / 2, "x"), top: plot.over.clientHeight / 2 });
    say(bin);
  };
  frame.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const keys = {
      ArrowLeft: () => go((at ?? summary.bins.length) - 1),
      ArrowRight: () => go((at ?? -1) + 1),
      Home: () => go(0),
      End: () => go(summary.bins.length - 1),
      Escape: () => {
        at = null;
        plot.setCursor({ left: -10, top: -10 });
        readout.textContent = "";
      },
      "+": () => zoom(0.5),
      "=": () => zoom(0.5),
      "-": () => zoom(2),
      0: all,
    };
    const act = keys[event.key];
    if (!act || !summary.bins.length) return;
    event.preventDefault();
    act();
  });
  bar.append(button("Closer", () => zoom(0.5)), button("Farther", () => zoom(2)), button("All", all));
  const hint = document.createElement("span");
  hint.className = "muted small";
  hint.textContent = "Or drag over a part of it.";
  bar.append(hint);

  make();
  let width = root.clientWidth;
  new ResizeObserver(() => {
    if (Math.abs(root.clientWidth - width) < 2) return;
    width = root.clientWidth;
    make();
  }).observe(root);
  document.addEventListener("theme", make);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", make);
  frame.focus();
}
