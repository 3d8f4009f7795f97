// Parts are asked for anew only while the page is in front. After 15 seconds without an answer it says that it is not
// live.
(() => {
  const live = document.querySelector("[data-live]");
  let answered = Date.now();
  document.body.addEventListener("htmx:afterOnLoad", () => { answered = Date.now(); });
  document.body.addEventListener("htmx:beforeRequest", (event) => { if (document.hidden) event.preventDefault(); });
  setInterval(() => {
    const polls = document.querySelector("[data-poll]") !== null;
    live.classList.toggle("stale", polls && !document.hidden && Date.now() - answered > 15000);
  }, 1000);
})();
