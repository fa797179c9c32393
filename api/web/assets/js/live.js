// Results as they come in, above those that the page has already: one event stream, closed while nobody looks. Rows never move under
// the pointer: while it rests on the table, or the page is paused, what comes waits and is counted.
//
// What a result says in a line is written here as `pages/measurement/words.rs` writes it on the server; change both.

import { count, difference, duration, moment } from "./format.js";

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
      for (const result of waiting.splice(0).reverse()) fragment.append(row(result, root.dataset.measurement));
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
    source.addEventListener("atlas_result", (event) => {
      let result;
      try {
        result = JSON.parse(event.data);
      } catch {
        return;
      }
      waiting.push(result);
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

function row(result, measurement) {
  const line = document.createElement("tr");
  line.className = "fresh";
  const [when, probe, what] = [0, 1, 2].map(() => line.appendChild(document.createElement("td")));
  when.className = "num";
  const time = document.createElement("time");
  const at = new Date(Number(result.timestamp) * 1000);
  if (!Number.isNaN(at.getTime())) {
    time.dateTime = at.toISOString();
    time.textContent = moment(result.timestamp);
  }
  when.append(time);
  const link = document.createElement("a");
  const id = Number(result.prb_id) || 0;
  link.href = `/measurements/${measurement}/probe/${id}?t=${Number(result.timestamp) || 0}`;
  link.textContent = String(id);
  probe.append(link);
  const [mood, text] = said(result);
  what.className = `said ${mood}`;
  what.textContent = text;
  return line;
}

const list = (value) => (Array.isArray(value) ? value : []);
const ms = (value) => (typeof value === "number" && value >= 0 ? value : null);
const several = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

// How a result is, and what it says.
export function said(result) {
  if (result?.sonde?.error) return ["bad", String(result.sonde.error)];
  const kind = { ping, traceroute, dns, sslcert, http, ntp, pathmtu, ipv6 }[result?.type];
  return kind ? kind(result) : ["warn", "a result of a kind that this page does not know"];
}

function ping(result) {
  const [sent, received] = [Number(result.sent) || 0, Number(result.rcvd) || 0];
  const [min, avg, max] = [ms(result.min), ms(result.avg), ms(result.max)];
  if (min === null || avg === null || max === null) {
    const error = list(result.result).find((reply) => reply?.error)?.error;
    return ["bad", error ? String(error) : `0 of ${several(sent, "packet", "packets")} came back`];
  }
  const lost = sent - received;
  const loss = lost > 0 ? `${received}/${sent} (${Math.round((100 * lost) / sent)} % lost)` : `${received}/${sent}`;
  return [lost > 0 ? "warn" : "good", `${loss} back; min ${duration(min)}, mean ${duration(avg)}, max ${duration(max)}`];
}

function traceroute(result) {
  let last = null;
  for (const hop of list(result.result)) {
    if (hop?.error) return ["bad", String(hop.error)];
    const replies = list(hop?.result);
    if (replies.some((reply) => typeof reply?.from === "string")) last = hop.hop;
    const own = replies.filter((reply) => result.dst_addr && reply?.from === result.dst_addr);
    if (own.length) {
      const rtts = own.map((reply) => ms(reply.rtt)).filter((rtt) => rtt !== null);
      const after = rtts.length ? ` after ${duration(Math.min(...rtts))}` : "";
      return ["good", `the target answered at hop ${hop.hop}${after}`];
    }
  }
  return ["bad", last === null ? "nobody answered" : `not reached; the last answer is of hop ${last}`];
}

function dns(result) {
  const one = (response) => {
    const rt = ms(response?.result?.rt);
    if (rt !== null) return [rt, `${several(Number(response.result.ANCOUNT) || 0, "record", "records")} after ${duration(rt)}`];
    const [name, why] = Object.entries(response?.error ?? {})[0] ?? ["timeout"];
    if (name === "timeout") return [null, "no answer"];
    return [null, typeof why === "string" ? `${name}: ${why}` : name];
  };
  const responses = list(result.resultset);
  if (!responses.length) {
    const [rt, text] = one(result);
    return [rt === null ? "bad" : "good", text];
  }
  const all = responses.map(one);
  const answered = all.filter(([rt]) => rt !== null).sort(([a], [b]) => a - b);
  const mood = answered.length === all.length ? "good" : answered.length ? "warn" : "bad";
  return [mood, `${answered.length} of ${several(all.length, "resolver", "resolvers")} answered; ${(answered[0] ?? all[0])[1]}`];
}

function sslcert(result) {
  const certificates = list(result.cert).length;
  if (!certificates) {
    const alert = result.alert?.description;
    return ["bad", String(result.err ?? (alert === undefined ? "no certificate" : `alert ${alert}`))];
  }
  const rt = ms(result.rt);
  const version = result.ver ? `, TLS ${result.ver}` : "";
  const text = `${several(certificates, "certificate", "certificates")}${rt === null ? "" : ` after ${duration(rt)}`}${version}`;
  const wrong = result.sonde?.handshake;
  return wrong ? ["warn", `${text}; ${wrong}`] : ["good", text];
}

function http(result) {
  const one = list(result.result)[0];
  if (typeof one?.res !== "number") return ["bad", String(one?.err ?? "no response")];
  const rt = ms(one.rt);
  const text = `status ${one.res}${rt === null ? "" : ` after ${duration(rt)}`}${one.err ? `; ${one.err}` : ""}`;
  return [one.err || one.res >= 400 ? "warn" : "good", text];
}

function ntp(result) {
  const replies = list(result.result);
  const times = replies.filter((reply) => typeof reply?.rtt === "number" && typeof reply?.offset === "number");
  if (!times.length) return ["bad", String(replies.find((reply) => reply?.error)?.error ?? "no time came back")];
  const best = times.reduce((a, b) => (b.rtt < a.rtt ? b : a));
  const stratum = typeof result.stratum === "number" ? `stratum ${result.stratum}, ` : result.stratum ? `${result.stratum}, ` : "";
  return ["good", `${stratum}offset ${difference(best.offset * 1000)}, round trip ${duration(best.rtt * 1000)}`];
}

function pathmtu(result) {
  const size = (name) => {
    if (typeof result[name] !== "number") return null;
    return `${result[name]} bytes${result[`${name}_exact`] === true ? "" : " or more"}`;
  };
  const forward = size("mtu");
  if (!forward) return ["bad", String(result.end ?? "no answer")];
  const reverse = size("reverse_mtu");
  const text = forward + (reverse ? `, ${reverse} back` : "");
  const lost = result.hole?.lost;
  return lost ? ["warn", `${text}; ${lost} bytes vanish without a word`] : ["good", text];
}

function ipv6(result) {
  const verdicts = list(result.verdict).filter((verdict) => verdict?.af && verdict?.raw);
  if (!verdicts.length) return ["warn", "no verdict"];
  const mood = verdicts.every((verdict) => verdict.raw === "works") ? "good" : "warn";
  return [mood, verdicts.map((verdict) => `IPv${verdict.af} ${verdict.raw}`).join(", ")];
}
