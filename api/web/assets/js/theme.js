// Sets the stored choice of colours before anything is drawn; so it is a plain script in the head, and does nothing else.
(() => {
  try {
    const theme = localStorage.getItem("theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage is switched off: the system's colours.
  }
})();
