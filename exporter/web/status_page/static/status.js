// Keeps the page current: asks for it again and takes over the parts marked data-live.
"use strict";

(() => {
  const seconds = Number(document.body.dataset.refreshSeconds);
  const controls = document.querySelector(".controls");
  const updated = document.getElementById("updated");
  let paused = false;
  let timer;

  const pause = document.createElement("button");
  pause.type = "button";
  pause.id = "pause";
  const name = () => { pause.textContent = paused ? "Resume updates" : "Pause updates"; };
  name();
  controls.prepend(pause);

  const trouble = document.createElement("p");
  trouble.setAttribute("role", "status");
  trouble.className = "stale";
  updated.after(trouble);

  function selecting(part) {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && part.contains(selection.anchorNode);
  }

  const nameOf = (control) => control.getAttribute("href") ?? control.textContent;
  const controlsOf = (part) => [...part.querySelectorAll("a, summary, [tabindex]")];

  // What has the keyboard's focus, or is unfolded, stays so, wherever it is moved to.
  function takeOver(part, fresh) {
    const focused = controlsOf(part).indexOf(document.activeElement);
    const named = focused < 0 ? undefined : nameOf(document.activeElement);
    const unfolded = new Set([...part.querySelectorAll("details[open] > summary")].map((summary) => summary.textContent));
    const scrolled = [...part.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    part.replaceChildren(...fresh.childNodes);
    for (const summary of part.querySelectorAll("details > summary")) {
      summary.parentElement.open = unfolded.has(summary.textContent);
    }
    part.querySelectorAll(".scroll").forEach((box, index) => { box.scrollLeft = scrolled[index] ?? 0; });
    if (focused >= 0) {
      const there = controlsOf(part);
      const stays = there[focused] && nameOf(there[focused]) === named;
      const moved = stays ? undefined : there.find((control) => nameOf(control) === named);
      (moved ?? there[focused])?.focus({ preventScroll: true });
    }
  }

  async function refresh() {
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(seconds * 1000) });
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const found = fresh.getElementById(part.id);
        if (found && !selecting(part)) takeOver(part, found);
      }
      document.title = fresh.title;
      trouble.textContent = "";
    } catch (error) {
      trouble.textContent = "No answer: these figures are old.";
    }
  }

  function plan() {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(() => refresh().finally(plan), seconds * 1000);
  }

  pause.addEventListener("click", () => { paused = !paused; name(); plan(); });
  document.getElementById("refresh").addEventListener("click", (event) => { event.preventDefault(); refresh().finally(plan); });
  document.addEventListener("visibilitychange", () => { if (document.hidden) plan(); else if (!paused) refresh().finally(plan); });
  plan();
})();
