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
    pane.addEventListener("blur", () => { if (marks[current]) marks[current].classList.remove("on"); hideTip(); });
    pane.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) { go(current + step); event.preventDefault(); }
      if (event.key === "Home") { go(0); event.preventDefault(); }
      if (event.key === "End") { go(marks.length - 1); event.preventDefault(); }
      if (event.key === "Escape") hideTip();
    });
    const buttons = box.querySelector(".zoom");
    buttons.hidden = false;
    let scale = 1;
    buttons.addEventListener("click", (event) => {
      const way = event.target.dataset.zoom;
      if (!way) return;
      const middle = (pane.scrollLeft + pane.clientWidth / 2) / pane.scrollWidth;
      scale = Math.min(Math.max(scale * (way === "in" ? 2 : 0.5), 1), 64);
      strip.setAttribute("width", `${scale * 100}%`);
      pane.scrollLeft = middle * pane.scrollWidth - pane.clientWidth / 2;
    });
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
