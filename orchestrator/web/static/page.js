// Parts are asked for anew only while the page is in front. After 15 seconds without an answer it says that it is not
// live, and its buttons go off.
(() => {
  const live = document.querySelector("[data-live]");
  let answered = Date.now();
  document.body.addEventListener("htmx:afterOnLoad", () => { answered = Date.now(); });
  document.body.addEventListener("htmx:beforeRequest", (event) => { if (document.hidden) event.preventDefault(); });
  setInterval(() => {
    const polls = document.querySelector("[data-poll]") !== null;
    const stale = polls && !document.hidden && Date.now() - answered > 15000;
    live.classList.toggle("stale", stale);
    document.body.classList.toggle("stale-page", stale);
  }, 1000);
})();
