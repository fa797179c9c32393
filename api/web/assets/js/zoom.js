// A curve in uPlot: drag to zoom, buttons for those who do not drag.

import uPlot from "../vendor/uplot/uPlot.js";
import { button } from "./button.js";

const number = (text) => (text === "" ? null : Number(text));

const utc = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options });
const day = utc({ day: "numeric", month: "short" });
const clock = utc({ hour: "2-digit", minute: "2-digit" });
const full = utc({ day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });

// The clock within days, and the day at midnight.
const ticks = (_, times, __, ___, step) =>
  times.map((time) => (step >= 86400 || time % 86400 === 0 ? day : clock).format(time * 1000));

export function zoomed(figure, svgs, rows, opener) {
  const isShare = figure.dataset.series === "share";
  const factor = isShare ? 100 : 1;
  const column = (name) => rows.map((row) => (number(row.dataset[name]) === null ? null : number(row.dataset[name]) * factor));
  const times = rows.map((row) => Number(row.dataset.t));
  // Where a bucket is missing there is a gap and not a line.
  const step = Math.min(...times.slice(1).map((time, i) => time - times[i]));
  const data = [[], [], [], []];
  // The line comes last, over its band.
  const columns = [column("low"), column("high"), column("v")];
  times.forEach((time, i) => {
    if (i > 0 && time - times[i - 1] > step) {
      data[0].push(times[i - 1] + step);
      for (const values of data.slice(1)) values.push(null);
    }
    data[0].push(time);
    columns.forEach((values, k) => data[k + 1].push(values[i]));
  });

  const box = document.createElement("div");
  box.className = "zoomed";
  svgs[0].before(box);
  for (const svg of svgs) svg.setAttribute("hidden", "");
  figure.querySelector(".readout")?.remove();
  const unit = isShare ? " %" : " ms";
  const value = (_, v) => (v === null ? "–" : v.toFixed(1) + unit);
  let plot;
  const draw = () => {
    const probe = document.createElement("span");
    box.append(probe);
    // Resolves light-dark(), which a canvas does not know.
    const resolved = (name) => {
      probe.style.color = `var(${name})`;
      return getComputedStyle(probe).color;
    };
    const [ink, muted, line, v6, band] = ["--ink", "--muted", "--line", "--v6", "--v6-soft"].map(resolved);
    probe.remove();
    const scale = plot ? { min: plot.scales.x.min, max: plot.scales.x.max } : null;
    plot?.destroy();
    const axis = { stroke: muted, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    plot = new uPlot(
      {
        width: box.clientWidth,
        height: Math.max(220, Math.min(360, box.clientWidth * 0.4)),
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
        series: [
          { label: "UTC", value: (_, time) => (time === null ? "–" : full.format(time * 1000)) },
          { label: "Low", stroke: "transparent", points: { show: false }, value },
          { label: "High", stroke: "transparent", points: { show: false }, value },
          { label: "Value", stroke: v6, width: 2, spanGaps: false, value },
        ],
        bands: [{ series: [2, 1], fill: band }],
        axes: [{ ...axis, values: ticks }, { ...axis, values: (_, ticks) => ticks.map((tick) => tick + unit), size: 64 }],
        scales: { y: isShare ? { range: [0, 100] } : {} },
        cursor: { drag: { x: true, y: false } },
      },
      data,
      box,
    );
    plot.root.style.color = ink;
    if (scale) plot.setScale("x", scale);
  };
  const stylesheet = document.createElement("link");
  stylesheet.rel = "stylesheet";
  stylesheet.href = new URL("../vendor/uplot/uPlot.css", import.meta.url).href;
  stylesheet.addEventListener("load", draw);
  document.head.append(stylesheet);

  const [first, last] = [times[0], times.at(-1) + step];
  const move = (change) => {
    const { min, max } = plot.scales.x;
    const [from, to] = change(min, max);
    plot.setScale("x", { min: Math.max(first, from), max: Math.min(last, to) });
  };
  const controls = [
    ["Closer", (min, max) => [min + (max - min) / 4, max - (max - min) / 4]],
    ["Farther", (min, max) => [min - (max - min) / 2, max + (max - min) / 2]],
    ["Earlier", (min, max) => [min - (max - min) / 4, Math.max(first + (max - min), max - (max - min) / 4)]],
    ["Later", (min, max) => [Math.min(last - (max - min), min + (max - min) / 4), max + (max - min) / 4]],
    ["All", () => [first, last]],
  ];
  opener.replaceWith(
    ...controls.map(([name, change]) => button(name, () => plot && move(change))),
  );
  document.addEventListener("theme", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(() => plot && box.clientWidth && plot.setSize({ width: box.clientWidth, height: plot.height })).observe(box);
}
