// A map of probes that one can go into: by buttons, keys, two clicks, Ctrl and the wheel, dragging, two fingers. From afar it is the
// picture that the page has, with one dot for places near each other. Closer each place has its own, on a canvas over the
// countries: thousands of elements would be slow. Where one looks stands in the address (`#map=latitude,longitude,times`).

import { button } from "./button.js";
import { css } from "./colour.js";
import { count } from "./format.js";
import { HEIGHT, place, unplace, WIDTH } from "./projection.js";

// The narrowest view, in the map's units: some 200 km.
const CLOSEST = 10;
// How near a pointer is to a dot that it means, in pixels.
const REACH = 14;
// What lies above what, and how it is drawn.
const MOODS = ["unknown", "gone", "good", "warn", "bad"];
const KEY = "#map=";

for (const svg of document.querySelectorAll("svg.chart.map")) {
  if (svg.querySelector(":scope > .dots")) start(svg);
}

function start(svg) {
  const figure = svg.closest("figure");
  const box = document.createElement("div");
  box.className = "map-box";
  svg.before(box);
  const canvas = document.createElement("canvas");
  canvas.setAttribute("aria-hidden", "true");
  canvas.hidden = true;
  box.append(svg, canvas);
  const [tools, readout, link] = controls(box, [
    ["Closer", () => zoom(0.5)],
    ["Farther", () => zoom(2)],
    ["All", () => show(home)],
  ]);
  svg.setAttribute("tabindex", "0");
  svg.setAttribute("aria-roledescription", "map; plus and minus go closer and farther, arrows move, Home shows all");

  const { x, y, width } = svg.viewBox.baseVal;
  const home = { x, y, width };
  let view = home;
  let dots = drawn(svg);
  let isLoaded = !figure.dataset.places;
  let picked = null;
  let frame = 0;
  let timer = 0;
  let colours = palette();

  const isClose = () => view.width < home.width;

  // Every place, asked for when somebody goes closer for the first time.
  const load = async () => {
    if (isLoaded) return;
    isLoaded = true;
    try {
      const answer = await fetch(figure.dataset.places, { credentials: "omit" });
      if (!answer.ok) throw new Error(answer.status);
      dots = placed((await answer.json()).places);
      picked = null;
      soon();
    } catch {
      isLoaded = false;
      readout.textContent = "The places could not be loaded; these are dots for several.";
    }
  };

  const show = (next) => {
    const width = Math.min(home.width, Math.max(Math.min(CLOSEST, home.width), next.width));
    const height = (width * HEIGHT) / WIDTH;
    view =
      width === home.width
        ? home
        : { width, x: Math.max(0, Math.min(WIDTH - width, next.x)), y: Math.max(0, Math.min(HEIGHT - height, next.y)) };
    if (isClose()) load();
    else picked = null;
    soon();
  };

  const zoom = (factor, at = [view.x + view.width / 2, view.y + (view.width * HEIGHT) / WIDTH / 2]) => {
    const width = Math.min(home.width, Math.max(CLOSEST, view.width * factor));
    const part = width / view.width;
    show({ width, x: at[0] - (at[0] - view.x) * part, y: at[1] - (at[1] - view.y) * part });
  };

  const move = (dx, dy) => show({ ...view, x: view.x + dx, y: view.y + dy });

  const soon = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      paint();
    });
  };

  const paint = () => {
    const close = isClose();
    box.classList.toggle("is-close", close);
    svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${(view.width * HEIGHT) / WIDTH}`);
    canvas.hidden = !close;
    const seen = close ? dotted() : null;
    clearTimeout(timer);
    // Who moves is told where he stops, and so is the address.
    timer = setTimeout(() => say(seen), 200);
  };

  // Draws what is in view, and says how much that is.
  const dotted = () => {
    const ratio = devicePixelRatio || 1;
    const [wide, high] = [box.clientWidth, box.clientHeight];
    canvas.width = Math.round(wide * ratio);
    canvas.height = Math.round(high * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const scale = wide / view.width;
    const closer = Math.min(2, 1 + 0.15 * Math.log2(WIDTH / view.width));
    const seen = { places: 0, probes: 0, connected: 0 };
    for (const mood of MOODS) {
      pen.beginPath();
      for (const dot of dots) {
        if (dot.mood !== mood) continue;
        const [left, top] = [(dot.x - view.x) * scale, (dot.y - view.y) * scale];
        const radius = size(dot) * closer;
        if (left < -radius || top < -radius || left > wide + radius || top > high + radius) continue;
        seen.places += 1;
        seen.probes += dot.probes;
        seen.connected += dot.connected;
        shape(pen, mood, left, top, radius);
      }
      finish(pen, mood, colours);
    }
    if (picked) {
      pen.beginPath();
      pen.arc((picked.x - view.x) * scale, (picked.y - view.y) * scale, size(picked) * closer + 4, 0, 2 * Math.PI);
      pen.lineWidth = 2;
      pen.strokeStyle = colours.ink;
      pen.stroke();
    }
    return seen;
  };

  const say = (seen) => {
    tell(readout, link, picked, seen, Boolean(figure.dataset.places));
    const [latitude, longitude] = unplace(view.x + view.width / 2, view.y + (view.width * HEIGHT) / WIDTH / 2);
    const at = isClose() ? `${KEY}${latitude.toFixed(3)},${longitude.toFixed(3)},${(home.width / view.width).toFixed(2)}` : "";
    if (location.hash !== at && (at || location.hash.startsWith(KEY))) history.replaceState(null, "", at || location.pathname + location.search);
  };

  const pick = (dot) => {
    if (dot === picked) return;
    picked = dot;
    soon();
  };

  const nearest = (x, y, reach) => {
    let [best, least] = [null, reach ** 2];
    for (const dot of dots) {
      const far = (dot.x - x) ** 2 + (dot.y - y) ** 2;
      if (far < least) [best, least] = [dot, far];
    }
    return best;
  };

  const under = (event) => {
    const bounds = box.getBoundingClientRect();
    const scale = view.width / bounds.width;
    return [view.x + (event.clientX - bounds.left) * scale, view.y + (event.clientY - bounds.top) * scale, scale];
  };

  listen({ box, svg, zoom, move, under, isClose, view: () => view, all: () => show(home) }, (event, isKey) => {
    if (!isClose()) return;
    if (isKey) {
      // The place in the middle, or whatever is nearest to it in view.
      pick(nearest(view.x + view.width / 2, view.y + (view.width * HEIGHT) / WIDTH / 2, view.width / 2));
      return;
    }
    const [x, y, scale] = under(event);
    const dot = nearest(x, y, REACH * scale);
    if (dot || event.type === "click") pick(dot);
  });
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !link.hidden) link.click();
  });
  new ResizeObserver(() => isClose() && soon()).observe(box);
  const recolour = () => {
    colours = palette();
    if (isClose()) soon();
  };
  document.addEventListener("theme", recolour);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  box.after(tools);
  tell(readout, link, null, null, false);

  const [latitude, longitude, times] = location.hash.startsWith(KEY) ? location.hash.slice(KEY.length).split(",").map(Number) : [];
  if (times > 1 && Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180) {
    const [x, y] = place(latitude, longitude);
    const width = home.width / times;
    show({ width, x: x - width / 2, y: y - (width * HEIGHT) / WIDTH / 2 });
  }
}

function controls(box, buttons) {
  const tools = document.createElement("div");
  tools.className = "map-tools";
  tools.append(...buttons.map(([name, act]) => button(name, act)));
  const readout = document.createElement("span");
  readout.className = "readout";
  readout.setAttribute("aria-live", "polite");
  const link = document.createElement("a");
  link.textContent = "List them";
  link.hidden = true;
  tools.append(readout, link);
  return [tools, readout, link];
}

// The dots of the page's picture.
function drawn(svg) {
  return [...svg.querySelectorAll(":scope > .dots > *")].map((element) => {
    const box = element.getBBox();
    const mood = element.getAttribute("class");
    const words = element.querySelector("title")?.textContent ?? "";
    return { x: box.x + box.width / 2, y: box.y + box.height / 2, mood, probes: 1, connected: 0, words };
  });
}

// Those of the API.
function placed(places) {
  return places.map(([longitude, latitude, connected, probes]) => {
    const [x, y] = place(latitude, longitude);
    return { x, y, mood: connected > 0 ? "good" : "gone", probes, connected, at: [latitude, longitude] };
  });
}

function size(dot) {
  return Math.min(16, 2.5 + Math.sqrt(dot.probes));
}

function shape(pen, mood, x, y, radius) {
  if (mood === "warn" || mood === "bad") {
    pen.rect(x - radius * 0.9, y - radius * 0.9, radius * 1.8, radius * 1.8);
    return;
  }
  pen.moveTo(x + radius, y);
  pen.arc(x, y, radius, 0, 2 * Math.PI);
}

function finish(pen, mood, colours) {
  if (mood === "gone") {
    pen.lineWidth = 1.4;
    pen.strokeStyle = colours.gone;
    pen.stroke();
    return;
  }
  pen.fillStyle = colours[mood];
  pen.fill();
  pen.lineWidth = 0.7;
  pen.strokeStyle = colours.page;
  pen.stroke();
}

function palette() {
  return {
    unknown: css("--muted"),
    gone: css("--bad"),
    good: css("--good", 0.85),
    warn: css("--warn"),
    bad: css("--bad"),
    page: css("--page"),
    ink: css("--ink"),
  };
}

function tell(readout, link, picked, seen, isOfPlaces) {
  link.hidden = !picked?.at;
  if (picked?.at) {
    const [latitude, longitude] = picked.at;
    readout.textContent = `${count(picked.connected)} of ${count(picked.probes)} connected, at ${latitude.toFixed(2)}, ${longitude.toFixed(2)}.`;
    // Half the diagonal of a place on the grid, and a little.
    link.href = `/probes?near=${latitude.toFixed(3)},${longitude.toFixed(3)}:8`;
  } else if (picked) readout.textContent = picked.words;
  else if (seen && isOfPlaces)
    readout.textContent = `In view: ${count(seen.connected)} of ${count(seen.probes)} probes connected, in ${count(seen.places)} places.`;
  else if (seen) readout.textContent = `In view: ${count(seen.places)} probes.`;
  else readout.textContent = "Two clicks, or Ctrl and the wheel, go closer.";
}

// Mouse, fingers and keys. `look` is told what somebody looks at.
function listen({ box, svg, zoom, move, under, isClose, view, all }, look) {
  const pointers = new Map();
  const spread = () => {
    const [one, other] = [...pointers.values()];
    return Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
  };
  box.addEventListener("dblclick", (event) => {
    event.preventDefault();
    zoom(0.4, under(event).slice(0, 2));
  });
  box.addEventListener(
    "wheel",
    (event) => {
      // Without it the wheel scrolls the page, as everywhere.
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(2 ** (Math.max(-100, Math.min(100, event.deltaY)) / 100), under(event).slice(0, 2));
    },
    { passive: false },
  );
  box.addEventListener("pointerdown", (event) => {
    if (!isClose()) return;
    pointers.set(event.pointerId, event);
    box.setPointerCapture(event.pointerId);
  });
  box.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") look(event, false);
      return;
    }
    const scale = under(event)[2];
    if (pointers.size === 1) {
      move((before.clientX - event.clientX) * scale, (before.clientY - event.clientY) * scale);
      pointers.set(event.pointerId, event);
      return;
    }
    const was = spread();
    pointers.set(event.pointerId, event);
    const is = spread();
    if (was > 0 && is > 0) zoom(was / is, under(event).slice(0, 2));
  });
  for (const name of ["pointerup", "pointercancel"]) box.addEventListener(name, (event) => pointers.delete(event.pointerId));
  box.addEventListener("click", (event) => look(event, false));
  svg.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const step = view().width / 8;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key === "+" || event.key === "=") zoom(0.5);
    else if (event.key === "-") zoom(2);
    else if (event.key === "Home" || event.key === "Escape") all();
    else if (event.key in moves && isClose()) move(...moves[event.key]);
    else return;
    event.preventDefault();
    look(event, true);
  });
}
