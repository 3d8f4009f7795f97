// The keys on the map: it is one tab stop, arrow keys move, and what a square holds stands beside it. Without this file
// a square is a link that shows the same.
(() => {
  const inLine = (cells) => {
    const next = cells.findIndex((cell) => cell.offsetTop > cells[0].offsetTop);
    return next < 1 ? cells.length : next;
  };
  const show = (cell) => {
    const side = document.querySelector("[data-side]");
    for (const other of document.querySelectorAll("[data-map] [aria-current]")) other.removeAttribute("aria-current");
    cell.setAttribute("aria-current", "true");
    htmx.ajax("GET", side.dataset.of + cell.search, { target: side, swap: "innerHTML" });
  };
  // When the map is asked for anew, the same square stays the chosen one.
  document.addEventListener("htmx:configRequest", (event) => {
    const now = event.target.matches("[data-map-poll]") && document.querySelector("[data-map] [aria-current]");
    if (now) event.detail.parameters.square = new URLSearchParams(now.search).get("square");
  });
  document.addEventListener("click", (event) => {
    const cell = event.target.closest("[data-map] a");
    if (!cell || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    for (const other of cell.parentElement.children) other.tabIndex = other === cell ? 0 : -1;
    cell.focus();
    show(cell);
  });
  document.addEventListener("keydown", (event) => {
    const cell = event.target.closest("[data-map] a");
    if (!cell || event.altKey || event.ctrlKey || event.metaKey) return;
    const cells = [...cell.parentElement.children], here = cells.indexOf(cell);
    const to = {
      ArrowRight: here + 1, ArrowLeft: here - 1, ArrowDown: here + inLine(cells), ArrowUp: here - inLine(cells),
      Home: 0, End: cells.length - 1,
    }[event.key];
    if (to === undefined || !cells[to]) return;
    event.preventDefault();
    cell.tabIndex = -1;
    cells[to].tabIndex = 0;
    cells[to].focus();
    show(cells[to]);
  });
})();
