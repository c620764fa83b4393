// Before the first paint, so that a page in a chosen theme does not flash in the other. No module: modules run later. It comes
// before the styles, since a script that follows them waits for them.
(() => {
  try {
    const theme = localStorage.getItem("tq.theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch {
    // no storage: the system's theme it is
  }
})();
