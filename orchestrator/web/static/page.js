// Parts are asked for anew only while the page is in front. After 15 seconds without an answer it says that it is not
// live, and its buttons go off.
(() => {
  const live = document.querySelector("[data-live]");
  let answered = Date.now();
  document.body.addEventListener("htmx:afterOnLoad", (event) => { if (event.detail.xhr.status < 400) answered = Date.now(); });
  document.body.addEventListener("htmx:beforeRequest", (event) => { if (document.hidden) event.preventDefault(); });
  // A part that is as it was is answered with 204, and left alone: what is selected or has the focus stays so.
  document.body.addEventListener("htmx:configRequest", (event) => {
    const mark = event.detail.elt.dataset.etag;
    if (mark) event.detail.headers["If-None-Match"] = mark;
  });
  document.body.addEventListener("htmx:afterOnLoad", (event) => {
    const mark = event.detail.xhr.getResponseHeader("ETag");
    if (mark) event.detail.elt.dataset.etag = mark;
  });
  setInterval(() => {
    const polls = document.querySelector("[data-poll]") !== null;
    const stale = polls && !document.hidden && Date.now() - answered > 15000;
    live.classList.toggle("stale", stale);
    document.body.classList.toggle("stale-page", stale);
  }, 1000);
})();
