// Each probe a row, each bin a dot, on a canvas: for more probes than a picture made by the server can hold. The table of probes has
// the numbers; this shows who was slow or away, and when.

import { rgb } from "./colour.js";
import { duration, moment } from "./format.js";

const SPLITS = [1, 5, 20, 50, 100, 250];
const MOST_HEIGHT = 600;

for (const root of document.querySelectorAll("[data-heat]")) load(root);

async function load(root) {
  try {
    const answer = await fetch(root.dataset.heat, { headers: { accept: "application/json" }, credentials: "omit" });
    if (!answer.ok) return;
    draw(root, await answer.json());
  } catch {
    // The page is whole without it.
  }
}

function draw(root, map) {
  const cells = Uint8Array.from(atob(map.cells), (letter) => letter.charCodeAt(0));
  const { codes, bins } = map;
  const count = map.probes.length;
  if (!bins || !count || cells.length !== bins * count) return;
  const value = (byte) => codes.least * codes.factor ** (byte - codes.first);
  // By the middle of what each has; those without numbers last.
  const middle = (place) => {
    const own = cells.slice(place * bins, (place + 1) * bins).filter((byte) => byte >= codes.first).sort();
    return own.length ? own[own.length >> 1] : 256;
  };
  const order = map.probes.map((_, place) => place);
  const middles = order.map(middle);
  order.sort((a, b) => middles[a] - middles[b] || a - b);

  const canvas = document.createElement("canvas");
  canvas.width = bins;
  canvas.height = count;
  canvas.style.height = `${Math.min(MOST_HEIGHT, Math.max(120, count * (count > 100 ? 1 : 6)))}px`;
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${count} probes over time, a row each, sorted by median. Arrow keys read single values; the table of probes has the numbers.`);
  root.replaceChildren(canvas);
  root.closest("figure").hidden = false;
  const readout = root.closest("figure").querySelector(".readout");

  const paint = () => {
    const classes = SPLITS.concat(Infinity).map((_, index) => rgb(`--share-${index}`));
    const [lost, failed] = [rgb("--ink"), rgb("--warn")];
    const context = canvas.getContext("2d");
    const image = context.createImageData(bins, count);
    order.forEach((place, row) => {
      for (let bin = 0; bin < bins; bin += 1) {
        const byte = cells[place * bins + bin];
        if (byte === codes.none) continue;
        const of =
          byte === codes.lost ? lost : byte === codes.failed ? failed : classes[SPLITS.filter((split) => value(byte) >= split).length];
        image.data.set([...of, 255], (row * bins + bin) * 4);
      }
    });
    context.putImageData(image, 0, 0);
  };
  paint();
  document.addEventListener("theme", paint);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);

  let [row, bin] = [0, 0];
  const say = () => {
    const place = order[row];
    const byte = cells[place * bins + bin];
    const what =
      byte === codes.none ? "not measured" : byte === codes.lost ? "all lost" : byte === codes.failed ? "not carried out" : `about ${duration(value(byte))}`;
    readout.textContent = `Probe ${map.probes[place]}, ${moment(map.start + bin * map.step)}: ${what}`;
  };
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    bin = Math.min(bins - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * bins)));
    row = Math.min(count - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * count)));
    say();
  });
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const step = steps[event.key];
    if (event.key === "Home") bin = 0;
    else if (event.key === "End") bin = bins - 1;
    else if (event.key === "Escape") readout.textContent = "";
    else if (!step) return;
    event.preventDefault();
    if (event.key === "Escape") return;
    if (step) {
      row = Math.min(count - 1, Math.max(0, row + step[0]));
      bin = Math.min(bins - 1, Math.max(0, bin + step[1]));
    }
    say();
  });
}
