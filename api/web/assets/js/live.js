// Results as they come in, above those that the page has already: one event stream, closed while nobody looks. Rows never move under
// the pointer: while it rests on the table, or the page is paused, what comes waits and is counted.

import { count, moment } from "./format.js";

const MOST_ROWS = 100;
const MOST_WAITING = 500;
// At most so many times a second the table changes.
const EVERY_MS = 250;

const root = document.querySelector(".live");
if (root?.dataset.running && "EventSource" in window) start(root);

function start(root) {
  const table = root.querySelector("table.results");
  const body = table.tBodies[0];
  const state = root.querySelector(".live-state");
  const button = root.querySelector("button.pause");
  const waiting = [];
  let missed = 0;
  let paused = false;
  let hovered = false;
  let source = null;
  let timer = 0;
  let words = "";

  const say = (text) => {
    if (text === words) return;
    words = text;
    state.textContent = text;
  };

  const tell = () => {
    const held = waiting.length + missed;
    if (paused || hovered) {
      say(held ? `${count(held)} new, waiting${hovered && !paused ? " while the pointer is on the table" : ""}` : paused ? "Paused" : "Live");
    } else if (!source) say("Not connected");
    else say("Live");
  };

  const flush = () => {
    timer = 0;
    if (!paused && !hovered && waiting.length) {
      const fragment = document.createDocumentFragment();
      for (const said of waiting.splice(0).reverse()) fragment.append(row(said, root.dataset.measurement));
      missed = 0;
      table.hidden = false;
      root.querySelector(".none-yet")?.remove();
      for (const old of body.querySelectorAll("tr.fresh")) old.classList.remove("fresh");
      body.prepend(fragment);
      while (body.rows.length > MOST_ROWS) body.lastElementChild.remove();
    }
    tell();
  };
  const soon = () => {
    timer ||= setTimeout(flush, EVERY_MS);
  };

  const open = () => {
    if (source || document.hidden) return;
    source = new EventSource(root.dataset.stream);
    source.addEventListener("open", soon);
    source.addEventListener("row", (event) => {
      let said;
      try {
        said = JSON.parse(event.data);
      } catch {
        return;
      }
      waiting.push(said);
      if (waiting.length > MOST_WAITING) {
        waiting.shift();
        missed += 1;
      }
      soon();
    });
    source.addEventListener("error", () => {
      // The browser tries again by itself unless the server has refused.
      if (source?.readyState === EventSource.CLOSED) source = null;
      say(source ? "Connecting again …" : "The stream is not to be had; load the page again for newer results");
    });
  };
  const close = () => {
    source?.close();
    source = null;
  };

  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Pause";
    button.setAttribute("aria-pressed", String(paused));
    flush();
  });
  body.addEventListener("pointerenter", () => {
    hovered = true;
    tell();
  });
  body.addEventListener("pointerleave", () => {
    hovered = false;
    flush();
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  root.querySelector(".actions").hidden = false;
  open();
  tell();
}

// `at` in Unix seconds; `text` is what the result says, as the server writes it into the page, too.
function row({ at, probe, mood, text }, measurement) {
  const line = document.createElement("tr");
  line.className = "fresh";
  const [when, whose, what] = [0, 1, 2].map(() => line.appendChild(document.createElement("td")));
  when.className = "num";
  const time = document.createElement("time");
  const begun = new Date(at * 1000);
  if (!Number.isNaN(begun.getTime())) time.dateTime = begun.toISOString();
  time.textContent = moment(at);
  when.append(time);
  const link = document.createElement("a");
  link.href = `/measurements/${measurement}/probe/${probe}?t=${at}`;
  link.textContent = String(probe);
  whose.append(link);
  what.className = `said ${mood}`;
  what.textContent = text;
  return line;
}
