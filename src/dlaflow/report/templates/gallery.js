// The gallery: one target at a time, sorted, filtered and searched; a row opens to its reasons and commands.
(() => {
  "use strict";
  const facts = JSON.parse(document.getElementById("graphs").textContent);
  const table = document.getElementById("gallery"), bodies = [...table.tBodies];
  const field = (name) => document.getElementById(name);
  const find = field("find"), target = field("target"), family = field("family"), task = field("task");
  const whole = field("whole"), grouped = field("grouped"), shown = field("shown");
  const rows = bodies.map((body) => [...body.rows]);
  const reasons = (fact) => [...fact.before.reasons, ...fact.after.reasons];
  const texts = rows.map((list) => list.map((row) => [
    row.dataset.name, row.dataset.family, row.dataset.task,
    ...reasons(facts[row.dataset.row]).flatMap(([rule, , , message]) => [rule, message]),
    ...facts[row.dataset.row].fix.rewrites.map((each) => each[0]),
    facts[row.dataset.row].slower,
  ].join(" ").toLowerCase()));
  let order = null;

  const make = (tag, text, ...inside) => {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    made.append(...inside);
    return made;
  };
  const list = (title, items) => items.length ? [make("h3", title), make("ul", "", ...items)] : [];
  const interval = (ends, unit) => ends ? `${ends[1]} (${ends[0]} to ${ends[2]}) ${unit}` : "unknown";
  const told = (side) => side.reasons.map(([rule, verdict, layers, message]) =>
    make("li", `${rule}, ${layers} ${layers === 1 ? "layer" : "layers"}, ${verdict}: ${message}`));
  const detail = (row) => {
    const fact = facts[row.dataset.row], cell = make("td");
    cell.colSpan = row.cells.length;
    const { before, after } = fact.times;
    const times = [make("li", `before${fact.before.parsed ? "" : ", were it read"}: ${interval(before.latency, "ms")}`)];
    if (after) times.push(make("li", `after fix: ${interval(after.latency, "ms")}`));
    if (fact.slower) times.push(make("li", fact.slower));
    times.push(make("li", `GPU alone: ${interval(fact.gpu, "ms")}`), ...fact.unknown.map((why) => make("li", why)));
    const proof = fact.fix.error === null ? [] : [make("li", `proof: largest difference ${fact.fix.error} of the largest output, ${fact.fix.used} of the bound`)];
    const alone = make("li", `standalone: ${fact.before.standalone ? "possible" : fact.after.standalone ? "possible after fix --mode standalone --output-4d" : "not reached"}`);
    const alike = fact.alike.map((name) => {
      const link = make("button", name);
      link.type = "button";
      link.dataset.goto = name;
      return make("li", "", link);
    });
    cell.append(
      ...list("Why not on the DLA", told(fact.before)),
      ...list("What is left after fix", told(fact.after)),
      ...list("What fix does", [...fact.fix.rewrites.map(([name, sites]) => make("li", `${name}, ${sites} ${sites === 1 ? "place" : "places"}`)), ...proof]),
      ...list("Latency of a batch", [...times, alone]),
      ...list("Commands", fact.commands.map((line) => make("li", "", make("code", line)))),
      ...list("Models like this that fit better", alike),
    );
    const made = make("tr", "", cell);
    made.className = "detail";
    return made;
  };
  const close = (row) => {
    if (row.nextElementSibling?.className === "detail") row.nextElementSibling.remove();
    row.querySelector(".more").setAttribute("aria-expanded", "false");
  };
  const toggle = (row) => {
    const open = row.querySelector(".more").getAttribute("aria-expanded") === "true";
    close(row);
    if (open) return;
    row.after(detail(row));
    row.querySelector(".more").setAttribute("aria-expanded", "true");
  };

  const value = (row, key) => key === "name" || key === "family" ? row.dataset[key] : Number(row.dataset[key]);
  const compare = (a, b) => {
    if (grouped.checked && a.dataset.family !== b.dataset.family) return a.dataset.family < b.dataset.family ? -1 : 1;
    if (!order) return a.dataset.row - b.dataset.row;
    const [one, other] = [value(a, order.key), value(b, order.key)];
    return (one < other ? -1 : one > other ? 1 : a.dataset.row - b.dataset.row) * order.way;
  };
  const show = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean), at = Number(target.value) || 0;
    let count = 0;
    bodies.forEach((body, index) => { body.hidden = index !== at; });
    if (!bodies.length) return;
    rows[at].forEach((row, index) => {
      close(row);
      row.hidden = !(words.every((word) => texts[at][index].includes(word))
        && (!family.value || row.dataset.family === family.value)
        && (!task.value || row.dataset.task === task.value)
        && (!whole.checked || "whole" in row.dataset));
      count += !row.hidden;
    });
    bodies[at].append(...[...rows[at]].sort(compare));
    shown.textContent = `${count} of ${rows[at].length}`;
  };
  for (const input of [find, target, family, task, whole, grouped]) input.addEventListener("input", show);
  for (const head of table.tHead.querySelectorAll("[data-key]")) {
    head.addEventListener("click", () => {
      const key = head.dataset.key, words = key === "name" || key === "family";
      order = { key, way: order?.key === key ? -order.way : words || key === "loadables" || key === "switches" || key === "energy" ? 1 : -1 };
      for (const each of table.tHead.querySelectorAll("[data-key]")) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order.way > 0 ? "ascending" : "descending");
      show();
    });
  }
  const visible = () => [...(bodies[Number(target.value) || 0]?.rows ?? [])].filter((row) => !row.hidden && row.dataset.name !== undefined);
  table.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.goto !== undefined) {
      find.value = ""; family.value = ""; task.value = ""; whole.checked = false;
      show();
      const row = visible().find((each) => each.dataset.name === button.dataset.goto);
      toggle(row);
      row.querySelector(".more").focus();
    } else if (button?.className === "more") toggle(button.closest("tr"));
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && !event.target.matches("input, select")) { find.focus(); event.preventDefault(); return; }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !(event.target === find || event.target.matches(".more"))) return;
    const listed = visible(), now = listed.indexOf(event.target.closest("tr")), next = now + step;
    if (next < 0) find.focus();
    else listed[Math.min(next, listed.length - 1)]?.querySelector(".more").focus();
    event.preventDefault();
  });
  show();
})();
