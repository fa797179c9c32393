// On every page: the choice of colours, and tables that scroll sideways by keyboard.

const choice = document.getElementById("theme");
if (choice) {
  choice.value = document.documentElement.dataset.theme ?? "";
  choice.closest(".theme").hidden = false;
  choice.addEventListener("change", () => {
    if (choice.value) document.documentElement.dataset.theme = choice.value;
    else delete document.documentElement.dataset.theme;
    try {
      if (choice.value) localStorage.setItem("theme", choice.value);
      else localStorage.removeItem("theme");
    } catch {
      // Storage is switched off: the choice holds for this page.
    }
    // What is drawn on a canvas has its colours from the style and must be told.
    document.dispatchEvent(new CustomEvent("theme"));
  });
}

// What is wider than its frame can be reached by keyboard, and only then is a stop of its own.
const frames = document.querySelectorAll(".wide");
const reach = () => {
  for (const frame of frames) {
    const overflows = frame.scrollWidth > frame.clientWidth;
    if (overflows) frame.tabIndex = 0;
    else frame.removeAttribute("tabindex");
  }
};
reach();
addEventListener("resize", reach);

// Who is signed in: public pages are the same for everybody, so it is asked for apart.
const corner = document.querySelector(".corner");
if (corner) {
  fetch("/session")
    .then((answer) => (answer.ok ? answer.json() : { email: null }))
    .then(({ email }) => {
      if (email === null) return;
      const link = corner.querySelector("a");
      link.textContent = email;
      link.title = "Signed in; sign out there";
    })
    .catch(() => {
      // Without an answer the link leads to where it is told.
    });
}
