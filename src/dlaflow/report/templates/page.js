// Theme, tooltips, zoom of the strips, filters of the tables. Everything is readable without it.
(() => {
  "use strict";
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  const label = document.querySelector("[data-theme-name]");
  const show = (theme) => {
    root.dataset.theme = theme;
    label.textContent = theme[0].toUpperCase() + theme.slice(1);
  };
  let stored = null;
  try { stored = localStorage.getItem("dlaflow-theme"); } catch { /* a page from disk may not keep anything */ }
  show(themes.includes(stored) ? stored : "auto");
  document.querySelector("[data-theme-toggle]").addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length];
    show(next);
    try { localStorage.setItem("dlaflow-theme", next); } catch { /* as above */ }
  });

  for (const box of document.querySelectorAll(".scroll")) {
    const mark = () => box.classList.toggle("cut", box.scrollWidth - box.clientWidth - box.scrollLeft > 1);
    box.addEventListener("scroll", mark, { passive: true });
    new ResizeObserver(mark).observe(box);
  }

  const tip = document.getElementById("tip");
  const hideTip = () => { tip.hidden = true; };
  const showTip = (mark) => {
    const { name, kind, where, macs, why } = mark.dataset;
    const title = document.createElement("b");
    title.textContent = name.length > 160 ? name.slice(0, 160) + "…" : name;
    const lines = [[kind, where, macs].filter(Boolean).join(" · "), why].filter(Boolean).map((text) => {
      const line = document.createElement("span");
      line.textContent = text.length > 300 ? text.slice(0, 300) + "…" : text;
      return line;
    });
    tip.replaceChildren(title, ...lines);
    tip.hidden = false;
    const box = mark.getBoundingClientRect();
    const left = Math.min(Math.max(box.left + box.width / 2 - tip.offsetWidth / 2, 8), root.clientWidth - tip.offsetWidth - 8);
    const above = box.top - tip.offsetHeight - 10;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above > 0 ? above : box.bottom + 10) + scrollY}px`;
  };

  const MOST = 256;
  for (const box of document.querySelectorAll("[data-strip]")) {
    const strip = box.querySelector(".strip");
    const pane = box.querySelector(".strip-scroll");
    const place = (mark) => parseFloat(mark.getAttribute("x")) - (mark.matches(".switch") ? 1e-6 : 0);
    const marks = [...strip.querySelectorAll(".cell, .switch")].sort((a, b) => place(a) - place(b));
    let current = -1;
    const go = (index) => {
      if (marks[current]) marks[current].classList.remove("on");
      current = Math.min(Math.max(index, 0), marks.length - 1);
      marks[current].classList.add("on");
      marks[current].scrollIntoView({ block: "nearest", inline: "nearest" });
      showTip(marks[current]);
    };
    pane.tabIndex = 0;
    strip.addEventListener("pointerover", (event) => { if (event.target.dataset.name !== undefined) showTip(event.target); });
    strip.addEventListener("pointerleave", hideTip);
    pane.addEventListener("focus", () => { if (marks.length && pane.matches(":focus-visible")) go(Math.max(current, 0)); });
    pane.addEventListener("blur", () => { if (marks[current]) marks[current].classList.remove("on"); hideTip(); });
    pane.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], by = { "+": 2, "=": 2, "-": 0.5, "0": 0 }[event.key];
      if (step && marks.length) go(current + step);
      else if (event.key === "Home" && marks.length) go(0);
      else if (event.key === "End" && marks.length) go(marks.length - 1);
      else if (by !== undefined) zoom(by);
      else if (event.key === "Escape") { hideTip(); return; }
      else return;
      event.preventDefault();
    });
    // Ticks are drawn anew at each zoom: round milliseconds, about a hundred pixels apart.
    const ticks = box.querySelector(".ticks"), total = parseFloat(box.dataset.ms);
    const draw = () => {
      const raw = total / scale / Math.max(pane.clientWidth / 100, 2), power = 10 ** Math.floor(Math.log10(raw));
      const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw * (1 - 1e-9));
      const first = ticks.firstElementChild, made = [];
      for (let at = 0; at * step <= total && at < 2000; at++) {
        const tick = first.cloneNode();
        tick.setAttribute("x", `${at * step / total * 100}%`);
        if (at) tick.setAttribute("text-anchor", at * step > 0.99 * total ? "end" : "middle");
        tick.textContent = at ? `${+(at * step).toPrecision(6)}` : "0 ms";
        made.push(tick);
      }
      ticks.replaceChildren(...made);
    };
    const buttons = box.querySelector(".zoom");
    buttons.hidden = false;
    let scale = 1;
    // What lies `x` pixels from the pane's left stays there; a factor of 0 shows all.
    const zoom = (by, x = pane.clientWidth / 2) => {
      const middle = (pane.scrollLeft + x) / pane.scrollWidth;
      scale = Math.min(Math.max(scale * by, 1), MOST);
      strip.setAttribute("width", `${scale * 100}%`);
      pane.scrollLeft = middle * pane.scrollWidth - x;
      if (ticks) draw();
      hideTip();
    };
    if (ticks) new ResizeObserver(draw).observe(pane);
    buttons.addEventListener("click", (event) => {
      const by = { in: 2, out: 0.5, all: 0 }[event.target.dataset.zoom];
      if (by !== undefined) zoom(by);
    });
    pane.addEventListener("wheel", (event) => {
      // The page scrolls past a strip that nobody works in.
      if (event.deltaX || !event.ctrlKey && !event.metaKey && document.activeElement !== pane) return;
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 200), event.clientX - pane.getBoundingClientRect().left);
    }, { passive: false });
  }

  for (const input of document.querySelectorAll("[data-filter]")) {
    const rows = [...document.getElementById(input.dataset.filter).tBodies[0].rows];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      rows.forEach((row, index) => { row.hidden = !words.every((word) => texts[index].includes(word)); });
    });
  }
})();
