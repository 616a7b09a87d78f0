// The network graph: modules open and close, a click shows a layer's findings, search finds, drag and wheel move.
(() => {
  "use strict";
  const source = document.getElementById("graphs");
  if (!source) return;
  const graphs = JSON.parse(source.textContent);
  const NS = "http://www.w3.org/2000/svg";
  const FEW = 48;
  const make = (tag, values, text) => {
    const element = document.createElementNS(NS, tag);
    for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const say = (tag, text, name) => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (name) element.className = name;
    return element;
  };
  const short = (text, room) => (text.length > room ? text.slice(0, room - 7) + "…" + text.slice(-6) : text);

  function start(details) {
    const { nodes, edges } = graphs[details.dataset.graph];
    const svg = details.querySelector("svg.graph-svg"), side = details.querySelector(".graph-side");
    const search = details.querySelector("[data-graph-search]"), hits = details.querySelector(".hits");
    const open = new Set();
    const groups = new Map();
    nodes.forEach((node, at) => {
      for (let depth = 1; depth <= (node.path ?? []).length; depth++) {
        const id = node.path.slice(0, depth).join("/");
        if (!groups.has(id)) groups.set(id, { id, name: node.path[depth - 1], depth, members: [] });
        groups.get(id).members.push(at);
      }
    });
    const seen = (at) => {
      const path = nodes[at].path ?? [];
      for (let depth = 1; depth <= path.length; depth++) {
        const id = path.slice(0, depth).join("/");
        if (!open.has(id) && groups.get(id).members.length > 1) return `g:${id}`;
      }
      return `n:${at}`;
    };
    const visible = () => new Set(nodes.map((_, at) => seen(at))).size;
    const solo = [...groups.values()].sort((a, b) => a.depth - b.depth || b.members.length - a.members.length);
    for (const group of solo) { open.add(group.id); if (visible() > FEW) { open.delete(group.id); break; } }

    let view = { x: 0, y: 0, k: 1 }, drawn = null, order = [], chosen = null, found = new Set();
    const stage = make("g", {});
    svg.append(stage);
    const moveTo = (next) => { view = next; stage.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.k})`); };
    const fit = () => {
      const { clientWidth: w, clientHeight: h } = svg;
      const k = Math.min(Math.max(Math.min((w - 40) / drawn.width, (h - 40) / drawn.height), 0.8), 1.1);
      moveTo({ k, x: (w - drawn.width * k) / 2, y: drawn.height * k < h ? (h - drawn.height * k) / 2 : 20 });
    };
    const centre = (id) => {
      const assignment = drawn.nodes.get(id);
      if (assignment) moveTo({ k: view.k, x: svg.clientWidth / 2 - (assignment.x + 88) * view.k, y: svg.clientHeight / 2 - (assignment.y + 17) * view.k });
    };
    const tell = (id) => {
      const parts = [];
      if (id.startsWith("g:")) {
        const group = groups.get(id.slice(2)), members = group.members.map((at) => nodes[at]);
        const gpu = members.filter((node) => node.device === "GPU").length;
        parts.push(say("h4", group.id), say("p", `${members.length} layers: ${members.length - gpu} on the DLA, ${gpu} on the GPU`));
        const button = say("button", "Open");
        button.type = "button";
        button.addEventListener("click", () => toggle(id));
        parts.push(button);
      } else {
        const node = nodes[+id.slice(2)];
        parts.push(say("h4", node.name.length > 400 ? node.name.slice(0, 400) + "…" : node.name), say("p", [node.kind, node.device + (node.loadable === undefined ? "" : ` · loadable ${node.loadable}`), node.verdict, node.macs].filter(Boolean).join(" · ")));
        for (const finding of node.findings ?? []) {
          const box = say("div", "", `side-finding ${finding.verdict}`);
          box.append(say("b", `${finding.rule} ${finding.verdict}`), say("p", finding.message));
          if (finding.fix) box.append(say("p", `Use instead: ${finding.fix}`, "fix"));
          parts.push(box);
        }
        if (!(node.findings ?? []).length) parts.push(node.device === "DLA" ? say("p", "No rule has a word against it.", "calm") : say("p", "No finding of its own: it follows its neighbours."));
        for (let depth = (node.path ?? []).length; depth > 0; depth--) {
          const module = node.path.slice(0, depth).join("/"), button = say("button", `Close ${short(module, 30)}`);
          if (groups.get(module).members.length === 1) continue;
          button.type = "button";
          button.addEventListener("click", () => { open.delete(module); draw(); choose(`g:${module}`); });
          parts.push(button);
        }
      }
      side.replaceChildren(...parts);
    };
    const mark = () => {
      for (const element of stage.querySelectorAll(".node")) {
        element.classList.toggle("chosen", element.dataset.id === chosen);
        element.classList.toggle("found", found.has(element.dataset.id));
      }
    };
    const choose = (id) => { chosen = id; tell(id); mark(); };
    const toggle = (id) => {
      const module = id.slice(2);
      open.add(module);
      const assignment = drawn.nodes.get(id), was = assignment && [view.x + assignment.x * view.k, view.y + assignment.y * view.k];
      draw();
      const first = seen(groups.get(module).members[0]), now = drawn.nodes.get(first);
      if (was && now) moveTo({ k: view.k, x: was[0] - now.x * view.k, y: was[1] - now.y * view.k });
      choose(first);
    };
    const draw = () => {
      const shown = new Map();
      nodes.forEach((_, at) => { const id = seen(at); if (!shown.has(id)) shown.set(id, []); shown.get(id).push(at); });
      const pairs = new Map();
      for (const [a, b] of edges) {
        const from = seen(a), to = seen(b);
        if (from === to) continue;
        const key = `${from}\n${to}`, cross = nodes[a].device !== nodes[b].device;
        pairs.set(key, { from, to, cross: cross || pairs.get(key)?.cross });
      }
      const list = [...pairs.values()];
      drawn = layeredLayout([...shown.keys()].map((id) => ({ id, w: 176, h: 34 })), list.map(({ from, to }) => [from, to]));
      const lines = drawn.paths.map((points, at) => {
        let d = `M${points[0][0]} ${points[0][1]}`;
        for (let assignment = 1; assignment < points.length; assignment++) { const [x0, y0] = points[assignment - 1], [x1, y1] = points[assignment], m = (y0 + y1) / 2; d += `C${x0} ${m} ${x1} ${m} ${x1} ${y1}`; }
        return make("path", { d, class: list[at].cross ? "edge cross" : "edge" });
      });
      order = [...shown.keys()].sort((a, b) => { const p = drawn.nodes.get(a), q = drawn.nodes.get(b); return p.y - q.y || p.x - q.x; });
      const boxes = order.map((id) => {
        const assignment = drawn.nodes.get(id), members = shown.get(id), first = nodes[members[0]];
        const group = id.startsWith("g:"), gpu = members.filter((at) => nodes[at].device === "GPU").length / members.length;
        const text = group ? groups.get(id.slice(2)).name : first.leaf;
        const box = make("g", { class: `node ${group ? (gpu > 0 && gpu < 1 ? "module mixed" : "module") : first.device.toLowerCase()}`, transform: `translate(${assignment.x} ${assignment.y})`, role: "button", tabindex: "-1", "aria-label": group ? `${short(text, 15)} ${members.length} ▸ layers in ${id.slice(2, 202)}` : `${short(text, 19)}, ${first.name.slice(0, 200)}, ${first.kind}, ${first.device}` });
        box.dataset.id = id;
        box.append(make("rect", { width: 176, height: 34, rx: 8 }));
        if (group) {
          const wide = gpu === 0 || gpu === 1 ? gpu * 160 : Math.min(Math.max(gpu * 160, 10), 150);
          box.append(make("rect", { class: "part-dla", x: 8, y: 27, width: 160 - wide, height: 3 }), make("rect", { class: "part-gpu", x: 168 - wide, y: 27, width: wide, height: 3 }));
          box.append(make("text", { x: 12, y: 19 }, `${short(text, 15)} `), make("text", { x: 164, y: 19, class: "amount" }, `${members.length} ▸`));
        } else {
          box.append(make("text", { x: 12, y: 22 }, short(text, 19)));
          if (first.verdict === "unknown") box.append(make("circle", { class: "undecided", cx: 166, cy: 9, r: 4 }));
        }
        return box;
      });
      stage.replaceChildren(...lines, ...boxes);
      mark();
    };

    stage.addEventListener("click", (event) => {
      const id = event.target.closest(".node")?.dataset.id;
      if (!id || moved) return;
      if (id.startsWith("g:")) toggle(id); else choose(id);
    });
    svg.addEventListener("keydown", (event) => {
      const at = order.indexOf(chosen), step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
      if (step) { const id = order[Math.min(Math.max(at + step, 0), order.length - 1)]; choose(id); centre(id); }
      else if (event.key === "Enter" && chosen?.startsWith("g:")) toggle(chosen);
      else if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 1.25 : 0.8, svg.clientWidth / 2, svg.clientHeight / 2);
      else return;
      event.preventDefault();
    });
    const zoom = (by, x, y) => {
      const k = Math.min(Math.max(view.k * by, 0.02), 3), real = k / view.k;
      moveTo({ k, x: x - (x - view.x) * real, y: y - (y - view.y) * real });
    };
    svg.addEventListener("wheel", (event) => {
      // The page scrolls past a graph that nobody works in.
      if (!event.ctrlKey && !event.metaKey && !svg.contains(document.activeElement)) return;
      event.preventDefault();
      const box = svg.getBoundingClientRect();
      if (event.ctrlKey || event.metaKey) zoom(Math.exp(-event.deltaY / 200), event.clientX - box.left, event.clientY - box.top);
      else moveTo({ ...view, x: view.x - event.deltaX, y: view.y - event.deltaY });
    }, { passive: false });
    let held = null, moved = false;
    svg.addEventListener("pointerdown", (event) => { held = [event.clientX, event.clientY, view.x, view.y]; moved = false; });
    addEventListener("pointermove", (event) => {
      if (!held) return;
      const dx = event.clientX - held[0], dy = event.clientY - held[1];
      if (Math.abs(dx) + Math.abs(dy) > 4) moved = true;
      if (moved) moveTo({ ...view, x: held[2] + dx, y: held[3] + dy });
    });
    addEventListener("pointerup", () => { held = null; });

    let matches = [], current = -1;
    search.addEventListener("input", () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      matches = words.length ? nodes.map((_, at) => at).filter((at) => { const text = `${nodes[at].name} ${nodes[at].kind} ${nodes[at].device} ${(nodes[at].findings ?? []).map((one) => one.rule).join(" ")}`.toLowerCase(); return words.every((word) => text.includes(word)); }) : [];
      for (const at of matches) { const path = nodes[at].path ?? []; for (let depth = 1; depth <= path.length; depth++) open.add(path.slice(0, depth).join("/")); }
      found = new Set(matches.map((at) => `n:${at}`));
      current = 0;
      hits.textContent = words.length ? `${matches.length} found` : "";
      draw();
      if (matches.length) { choose(`n:${matches[0]}`); centre(chosen); }
    });
    search.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !matches.length) return;
      current = (current + 1) % matches.length;
      choose(`n:${matches[current]}`);
      centre(chosen);
      hits.textContent = `${current + 1} of ${matches.length}`;
    });
    details.querySelector("[data-graph-all]").addEventListener("click", () => { for (const id of groups.keys()) open.add(id); draw(); fit(); });
    details.querySelector("[data-graph-none]").addEventListener("click", () => { open.clear(); draw(); fit(); });
    details.querySelector("[data-graph-fit]").addEventListener("click", fit);
    draw();
    fit();
  }
  for (const details of document.querySelectorAll("[data-graph]")) {
    details.addEventListener("toggle", () => { if (details.open) start(details); }, { once: true });
  }
})();
