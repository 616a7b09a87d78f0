// A small layered layout: ranks by longest path, crossings fewer by barycentres, straight runs by medians.
// nodes: [{id, w, h}], edges: [[id, id]] → {nodes: Map id → {x, y}, paths: [[[x, y], ...]], width, height}
function layeredLayout(nodes, edges) {
  "use strict";
  const GAP_X = 22, GAP_Y = 26, SPAN = 40;
  const index = new Map(nodes.map((node, at) => [node.id, at]));
  const boxes = nodes.map((node) => ({ w: node.w, h: node.h, x: 0, rank: 0, real: true }));
  const links = edges.map(([a, b]) => [index.get(a), index.get(b)]).filter(([a, b]) => a !== undefined && b !== undefined && a !== b);

  // Closed modules can make cycles: edges that lead back are turned while ranking. The search is iterative: deep networks are long.
  const out = boxes.map(() => []);
  links.forEach(([, b], at) => out[links[at][0]].push([b, at]));
  const state = new Uint8Array(boxes.length), back = new Set(), finished = [];
  for (let root = 0; root < boxes.length; root++) {
    if (state[root]) continue;
    const stack = [[root, 0]];
    state[root] = 1;
    while (stack.length) {
      const top = stack[stack.length - 1];
      if (top[1] === out[top[0]].length) { state[top[0]] = 2; finished.push(top[0]); stack.pop(); continue; }
      const [next, at] = out[top[0]][top[1]++];
      if (state[next] === 1) back.add(at);
      else if (!state[next]) { state[next] = 1; stack.push([next, 0]); }
    }
  }
  const order = finished.reverse();
  const forward = links.filter((_, at) => !back.has(at));
  const next = boxes.map(() => []), before = boxes.map(() => []);
  for (const [a, b] of forward) { next[a].push(b); before[b].push(a); }
  for (const a of order) for (const b of next[a]) boxes[b].rank = Math.max(boxes[b].rank, boxes[a].rank + 1);
  for (const a of order.slice().reverse()) if (!before[a].length && next[a].length) boxes[a].rank = Math.min(...next[a].map((b) => boxes[b].rank)) - 1;

  // Long edges get a thin stand-in on each rank that they pass, so that they go around the boxes.
  const chains = links.map(([a, b], at) => {
    const [from, to] = back.has(at) ? [b, a] : [a, b];
    const chain = [from], span = boxes[to].rank - boxes[from].rank;
    if (span <= SPAN) for (let step = 1; step < span; step++) { boxes.push({ w: 10, h: 0, x: 0, rank: boxes[from].rank + step, real: false }); chain.push(boxes.length - 1); }
    chain.push(to);
    return { chain, turned: back.has(at) };
  });
  const ranks = [];
  boxes.forEach((box, at) => { (ranks[box.rank] ??= []).push(at); });
  const ups = boxes.map(() => []), downs = boxes.map(() => []);
  for (const { chain } of chains) for (let at = 1; at < chain.length; at++) { downs[chain[at - 1]].push(chain[at]); ups[chain[at]].push(chain[at - 1]); }

  const place = new Float64Array(boxes.length);
  const number = (row) => row.forEach((at, assignment) => { place[at] = assignment; });
  ranks.forEach(number);
  for (let sweep = 0; sweep < 6; sweep++) {
    const down = sweep % 2 === 0, sides = down ? ups : downs;
    for (let step = 1; step < ranks.length; step++) {
      const row = ranks[down ? step : ranks.length - 1 - step];
      if (row.length < 2) continue;
      const weight = new Map(row.map((at) => [at, sides[at].length ? sides[at].reduce((sum, other) => sum + place[other], 0) / sides[at].length : place[at]]));
      row.sort((a, b) => weight.get(a) - weight.get(b));
      number(row);
    }
  }
  const spread = (row, wanted) => {
    let edge = -Infinity, drift = 0;
    row.forEach((at) => { const left = Math.max(wanted(at) - boxes[at].w / 2, edge); boxes[at].x = left + boxes[at].w / 2; edge = left + boxes[at].w + GAP_X; drift += boxes[at].x - wanted(at); });
    row.forEach((at) => { boxes[at].x -= drift / row.length; });
  };
  ranks.forEach((row) => spread(row, () => 0));
  for (let sweep = 0; sweep < 8; sweep++) {
    const down = sweep % 2 === 0, sides = down ? ups : downs;
    for (let step = 0; step < ranks.length; step++) {
      spread(ranks[down ? step : ranks.length - 1 - step], (at) => {
        const xs = sides[at].map((other) => boxes[other].x).sort((a, b) => a - b), half = xs.length >> 1;
        return xs.length ? (xs.length % 2 ? xs[half] : (xs[half - 1] + xs[half]) / 2) : boxes[at].x;
      });
    }
  }
  const tops = [];
  ranks.reduce((top, row, rank) => { tops[rank] = top; return top + Math.max(...row.map((at) => boxes[at].h)) + GAP_Y; }, 0);
  let left = Infinity, right = -Infinity, height = 0;
  for (const box of boxes) { left = Math.min(left, box.x - box.w / 2); right = Math.max(right, box.x + box.w / 2); height = Math.max(height, tops[box.rank] + box.h); }
  const assignments = new Map(nodes.map((node, at) => [node.id, { x: boxes[at].x - left - boxes[at].w / 2, y: tops[boxes[at].rank] }]));
  const paths = chains.map(({ chain, turned }) => {
    const points = chain.map((at, assignment) => [boxes[at].x - left, tops[boxes[at].rank] + (assignment === 0 ? boxes[at].h : 0)]);
    return turned ? points.reverse() : points;
  });
  return { nodes: assignments, links, paths, width: right - left, height };
}
