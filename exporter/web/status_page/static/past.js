// Shows a chart's values under the pointer or the arrow keys, and local times beside those in UTC.
"use strict";

(() => {
  const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
  const zone = new Intl.DateTimeFormat("en", { timeZoneName: "short" }).formatToParts(new Date()).find((part) => part.type === "timeZoneName")?.value ?? "local time";
  const isUtc = new Date().getTimezoneOffset() === 0;
  const two = (value) => String(value).padStart(2, "0");
  const localTime = (at) => `${two(at.getHours())}:${two(at.getMinutes())}`;
  const localDay = (at) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const utc = (at) => `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
  const local = (at) => `${localDay(at)} ${localTime(at)} ${zone}`;
  const both = (at) => isUtc ? utc(at) : `${utc(at)} (${local(at)})`;
  let index;

  function localise() {
    if (isUtc) return;
    const byHours = document.querySelector(".times text")?.textContent.includes(":");
    for (const text of byHours ? document.querySelectorAll(".times text[data-at]") : []) {
      const at = new Date(text.dataset.at);
      const copy = text.cloneNode();
      copy.removeAttribute("data-at");
      copy.classList.add("local");
      copy.setAttribute("y", "32");
      copy.textContent = localTime(at);
      text.removeAttribute("data-at");
      text.after(copy);
    }
    for (const zoneNote of document.querySelectorAll("[data-zone]")) {
      zoneNote.removeAttribute("data-zone");
      zoneNote.textContent = byHours ? `Times are UTC, and ${zone} below.` : `Days begin at 00:00 UTC, ${localTime(new Date(0))} ${zone}.`;
    }
    for (const time of document.querySelectorAll("time[datetime]:not([title])")) time.title = local(new Date(time.dateTime));
  }

  function describe(chart, n) {
    const at = new Date((chart.since + (n + 1) * chart.step) * 1000);
    const value = chart.values[n];
    if (!value) return `${both(at)}: no data`;
    const [tokens, lowest, highest, capacity, used, most, refill] = value;
    const parts = [`${number.format(tokens)} of ${number.format(capacity)} tokens (${number.format(Math.max(0, Math.min(100, 100 * tokens / capacity)))} %)`];
    if (lowest !== highest) parts.push(`from ${number.format(lowest)} to ${number.format(highest)}`);
    if (used !== null) parts.push(`used ${number.format(used)} / min${most > used ? `, at most ${number.format(most)}` : ""}`);
    parts.push(`refill ${number.format(refill)} / min`);
    return `${both(at)}: ${parts.join("; ")}`;
  }

  function show(figure, n) {
    const chart = JSON.parse(figure.dataset.chart);
    const readout = figure.querySelector(".readout");
    readout.dataset.summary ??= readout.textContent;
    index = n === undefined ? undefined : Math.max(0, Math.min(chart.values.length - 1, n));
    readout.textContent = index === undefined ? readout.dataset.summary : describe(chart, index);
    for (const line of figure.querySelectorAll(".pointer")) {
      line.classList.toggle("shown", index !== undefined);
      const x = `${index === undefined ? 0 : 100 * (index + 0.5) / chart.values.length}%`;
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    }
  }

  function under(event) {
    const plot = event.target.closest?.(".chart");
    if (!plot) return;
    const box = plot.getBoundingClientRect();
    const figure = plot.closest(".charts");
    const steps = JSON.parse(figure.dataset.chart).values.length;
    show(figure, Math.floor(steps * (event.clientX - box.left) / box.width));
  }

  document.addEventListener("pointermove", under);
  document.addEventListener("pointerdown", under);
  document.addEventListener("pointerout", (event) => {
    const figure = event.target.closest?.(".charts");
    if (figure && event.pointerType === "mouse" && !figure.contains(event.relatedTarget)) show(figure);
  });
  document.addEventListener("keydown", (event) => {
    const plot = event.target.closest?.(".chart");
    if (!plot) return;
    const figure = plot.closest(".charts");
    const steps = JSON.parse(figure.dataset.chart).values.length;
    const from = index ?? steps;
    const far = Math.round(steps / 24);
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, PageUp: from - far, PageDown: from + far, Home: 0, End: steps - 1 }[event.key];
    if (event.key === "Escape") show(figure);
    if (to === undefined) return;
    figure.querySelector(".readout").setAttribute("aria-live", "polite");
    event.preventDefault();
    show(figure, to);
  });

  // What status.js took over is drawn again.
  new MutationObserver(() => {
    localise();
    const figure = document.querySelector(".charts");
    if (figure && index !== undefined && !figure.querySelector(".pointer.shown")) show(figure, index);
  }).observe(document.getElementById("main"), { childList: true, subtree: true });
  localise();
})();
