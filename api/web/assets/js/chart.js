// Curves that one can read by mouse and keyboard, and look at closely. Values come from the table that stands under each of them.

const figures = document.querySelectorAll("figure[data-series]");
for (const figure of figures) {
  const svgs = figure.querySelectorAll("svg.series");
  const rows = [...figure.querySelectorAll("tbody tr[data-x]")];
  if (svgs.length && rows.length) {
    follow(figure, svgs, rows);
    offerZoom(figure, svgs, rows);
  }
}

// A line at one bucket, moved by mouse, arrows, Home and End, taken away by Esc; what it stands at is said below.
function follow(figure, svgs, rows) {
  const space = "http://www.w3.org/2000/svg";
  const [left, right] = figure.dataset.margins.split(" ").map(Number);
  const readout = document.createElement("p");
  readout.className = "readout";
  readout.setAttribute("aria-live", "polite");
  svgs[svgs.length - 1].after(readout);
  let at = -1;
  let timer = 0;
  const show = (index) => {
    at = index;
    const row = rows[index];
    clearTimeout(timer);
    for (const { line, width } of lines) {
      line.setAttribute("visibility", row ? "visible" : "hidden");
      if (!row) continue;
      const x = left + Number(row.dataset.x) * (width - left - right);
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    }
    if (!row) {
      readout.textContent = "";
      return;
    }
    const [time, value, interval, from] = [...row.cells].map((cell) => cell.textContent.trim());
    // A hand that holds an arrow key down is told where it stops.
    timer = setTimeout(() => {
      readout.textContent = `${time}: ${value} (${interval}), ${from}`;
    }, 120);
  };
  const lines = [...svgs].map((svg) => {
    const { width, height } = svg.viewBox.baseVal;
    const line = document.createElementNS(space, "line");
    line.classList.add("cursor");
    line.setAttribute("y1", 0);
    line.setAttribute("y2", height);
    line.setAttribute("visibility", "hidden");
    svg.append(line);
    svg.setAttribute("tabindex", "0");
    svg.setAttribute("aria-roledescription", "curve; arrow keys read its values");
    return { line, width };
  });
  for (const svg of svgs) {
    svg.addEventListener("keydown", (event) => {
      const last = rows.length - 1;
      const step = event.shiftKey ? 10 : 1;
      const places = {
        ArrowLeft: at < 0 ? last : Math.max(0, at - step),
        ArrowRight: at < 0 ? 0 : Math.min(last, at + step),
        Home: 0,
        End: last,
        Escape: -1,
      };
      if (!(event.key in places) || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      show(places[event.key]);
    });
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const { width } = svg.viewBox.baseVal;
      const x = (((event.clientX - box.left) / box.width) * width - left) / (width - left - right);
      let nearest = 0;
      for (let i = 1; i < rows.length; i++) {
        if (Math.abs(rows[i].dataset.x - x) < Math.abs(rows[nearest].dataset.x - x)) nearest = i;
      }
      if (nearest !== at) show(nearest);
    });
    svg.addEventListener("pointerleave", () => {
      if (document.activeElement !== svg) show(-1);
    });
    svg.addEventListener("blur", () => show(-1));
  }
}

// uPlot is loaded when somebody wants to look closer, and not before.
function offerZoom(figure, svgs, rows) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Zoom";
  figure.querySelector(".files").prepend(button);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const { zoomed } = await import("./zoom.js");
      zoomed(figure, svgs, rows, button);
    } catch {
      button.textContent = "Zooming could not be loaded";
    }
  });
}

// A country on the map leads to its page; the table beside the map has the same links for keyboards.
for (const map of document.querySelectorAll("svg.map")) {
  map.classList.add("links");
  map.addEventListener("click", (event) => {
    const code = event.target.dataset?.c;
    if (code) location.href = `/country/${code}`;
  });
}
