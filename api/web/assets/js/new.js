// Making a measurement: what it would cost is asked for while one writes, and the lines for curl and sonde follow. Everything works
// without this file; the server alone makes the request out of the form's fields.

const form = document.getElementById("new");
const live = document.getElementById("live");
const words = document.getElementById("live-words");
const list = document.getElementById("live-problems");
const create = document.getElementById("create-now");

// Long enough that a word is written to its end.
const PAUSE_MS = 700;

let timer;
let running;

const show = (answer) => {
  document.getElementById("curl").textContent = answer.curl;
  document.getElementById("sonde").textContent = answer.sonde ?? `# ${answer.no_sonde}`;
  const { preview, problems } = answer;
  live.hidden = !preview && problems.length === 0;
  create.hidden = !preview?.allowed;
  // A word only when it is another: a screen reader reads what changes.
  const text = preview ? preview.summary : "Not yet:";
  if (words.textContent !== text) words.textContent = text;
  const items = (preview ? preview.reasons.map((reason) => ({ words: reason })) : problems).map((problem) => {
    const item = document.createElement("li");
    if (problem.control) {
      const link = document.createElement("a");
      link.href = `#${problem.control.replaceAll(".", "-")}`;
      link.textContent = problem.words;
      item.append(link);
    } else {
      item.textContent = problem.words;
    }
    return item;
  });
  list.replaceChildren(...items);
};

const ask = async () => {
  running?.abort();
  running = new AbortController();
  try {
    const answer = await fetch("/new/estimate", {
      method: "POST",
      body: new URLSearchParams(new FormData(form)),
      signal: running.signal,
    });
    if (answer.ok) show(await answer.json());
  } catch {
    // Another question went out, or the server is away: what was shown stays, and the form works as ever.
  }
};

// What was shown before is of an older form: the preview's button would make something else than it says.
const outdated = () => {
  create.hidden = true;
  for (const button of document.querySelectorAll("#preview button")) button.disabled = true;
};

form.addEventListener("input", () => {
  outdated();
  clearTimeout(timer);
  timer = setTimeout(ask, PAUSE_MS);
});
form.addEventListener("submit", () => {
  clearTimeout(timer);
  running?.abort();
});
// A form that was left and come back to.
if (form.querySelector("#target").value) timer = setTimeout(ask, PAUSE_MS);
