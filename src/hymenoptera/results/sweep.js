// Draws a sweep from `sweep`, what sweep.json has: table, charts, and what is pointed at in each.
const jobs = new Map(sweep.jobs.map(job => [job.number, job]));
const keys = [...new Set(sweep.settings.flatMap(s => Object.keys(s.values)))];
const at = id => document.getElementById(id);
const percent = x => x === null || x === undefined ? "" : (100 * x).toFixed(1);
const number = text => text !== undefined && String(text).trim() !== "" && isFinite(text) ? Number(text) : null;
const colour = i => `hsl(${(i * 137.5 + 210) % 360} 62% var(--lightness))`;
const short = t => number(t) !== null && String(t).length > 8 ? Number(t).toPrecision(3) : String(t);
const W = Math.max(310, Math.min(520, document.body.clientWidth - 60)), H = 290, LEFT = 52, FOOT = 46;

function make(name, attributes, parent, text) {
  const space = ["svg", "g", "line", "circle", "text", "title", "polyline"].includes(name);
  const element = space ? document.createElementNS("http://www.w3.org/2000/svg", name)
                        : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent?.append(element);
  return element;
}
function says(i) {
  const s = sweep.settings[i];
  const values = keys.map(k => `${k.split(".").pop()} ${s.values[k] ?? ""}`).join(", ") || "all runs";
  return `${values}: ${s.mean === null ? "" : percent(s.mean) + " %, "}${s.says}`;
}
// what belongs to a setting is marked everywhere while one of its marks is pointed at
function link(element, setting) {
  element.dataset.setting = setting;
  element.addEventListener("mouseenter", () => mark(setting, true));
  element.addEventListener("mouseleave", () => mark(setting, false));
}
function mark(setting, on) {
  document.body.classList.toggle("pointing", on);
  document.querySelectorAll(`[data-setting="${setting}"]`).forEach(e => e.classList.toggle("on", on));
  document.querySelectorAll(".pointed").forEach(e => e.textContent = on ? says(setting) : e.dataset.idle);
}

// a scale of a parameter's values: log for numbers that range widely, linear, or one place each
function scale(values, low, high) {
  const all = values.map(number).filter(v => v !== null);
  if (all.length === values.length && new Set(all).size > 2) {
    const log = Math.min(...all) > 0 && Math.max(...all) / Math.min(...all) >= 20;
    const f = log ? Math.log10 : v => v;
    const [a, b] = [f(Math.min(...all)), f(Math.max(...all))];
    return { at: t => low + (f(Number(t)) - a) / (b - a) * (high - low), log,
             ticks: [...new Set(all)].sort((x, y) => x - y).map(String), room: 44 };
  }
  const words = [...new Set(values)].sort((x, y) => x.localeCompare(y, undefined, { numeric: true }));
  return { room: .8 * (high - low) / words.length, at: t => low + (words.indexOf(t) + .5) / words.length * (high - low), log: false, ticks: words };
}
const results = sweep.settings.flatMap(s => s.mean === null ? [] : [s.mean, ...(s.interval ?? [])]);
const lowest = Math.min(1, ...results, ...sweep.jobs.map(j => j.val_accuracy ?? 1));
const step = 1 - lowest > .4 ? .2 : 1 - lowest > .2 ? .1 : .05;
const floor = Math.max(0, Math.floor((lowest - .005) / step) * step);
const y = v => H - FOOT - (Math.max(floor, v) - floor) / (1 - floor) * (H - FOOT - 14);

function axes(parent, title, bottom) {
  const figure = make("figure", {}, parent);
  const svg = make("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${title} by ${bottom}` }, figure);
  for (let v = floor; v < 1.001; v += step) {
    make("line", { x1: LEFT, x2: W - 8, y1: y(v), y2: y(v), class: "grid" }, svg);
    make("text", { x: LEFT - 6, y: y(v) + 4, "text-anchor": "end" }, svg, (100 * v).toFixed(0) + " %");
  }
  make("text", { x: (W + LEFT) / 2, y: H - 6, "text-anchor": "middle" }, svg, bottom);
  return [svg, figure];
}
function ticks(svg, x, names) {
  let last = -99;
  for (const name of names) {
    const place = x.at(name);
    if (place - last < 6.6 * short(name).length + 10) continue;
    last = place;
    make("line", { x1: place, x2: place, y1: H - FOOT, y2: H - FOOT + 5, class: "axis" }, svg);
    make("text", { x: place, y: H - FOOT + 18, "text-anchor": "middle" }, svg, short(name));
  }
}

for (const key of keys) {
  const shown = sweep.settings.map((s, i) => [s, i]).filter(([s]) => s.mean !== null && key in s.values);
  if (!shown.length) continue;
  const x = scale(shown.map(([s]) => s.values[key]), LEFT + 24, W - 34);
  const [svg] = axes(at("parameters"), "validation accuracy", key + (x.log ? " (log)" : ""));
  ticks(svg, x, x.ticks);
  const beside = new Map();  // settings with the same value of this key stand beside each other
  for (const [s] of shown) beside.set(s.values[key], (beside.get(s.values[key]) ?? 0) + 1);
  const placed = new Map();
  for (const [s, i] of shown) {
    const value = s.values[key], place = placed.get(value) ?? 0, all = beside.get(value);
    placed.set(value, place + 1);
    const here = x.at(value) + (place - (all - 1) / 2) * Math.min(14, x.room / all);
    const g = make("g", { style: `stroke: ${colour(i)}`, class: "mark" }, svg);
    if (s.interval) make("line", { x1: here, x2: here, y1: y(s.interval[0]), y2: y(s.interval[1]) }, g);
    make("circle", { cx: here, cy: y(s.mean), r: 6 }, g);
    s.jobs.map(n => jobs.get(n)).filter(j => j.state === "done").forEach((j, k, runs) =>
      make("circle", { cx: here + (k - (runs.length - 1) / 2) * 4, cy: y(j.val_accuracy), r: 2.2,
                       class: "dot", style: `fill: ${colour(i)}` }, g));
    make("title", {}, g, says(i));
    link(g, i);
  }
}

const longest = Math.max(0, ...sweep.jobs.map(j => j.curve.length));
if (longest) {
  const [svg] = axes(at("curves"), "validation accuracy", "epoch");
  const x = { at: e => LEFT + 12 + (e - 1) / Math.max(1, longest - 1) * (W - LEFT - 34) };
  ticks(svg, x, Array.from({ length: longest }, (_, i) => i + 1));
  sweep.settings.forEach((s, i) => s.jobs.forEach(n => {
    const rows = jobs.get(n).curve.filter(r => r["val/accuracy"] !== null);
    if (rows.length < 2) return;
    const points = rows.map(r => `${x.at(r.epoch)},${y(r["val/accuracy"])}`).join(" ");
    const line = make("polyline", { points, class: "curve", style: `stroke: ${colour(i)}` }, svg);
    make("title", {}, line, `job ${n}, ${says(i)}`);
    link(line, i);
  }));
}

if (keys.length > 1 && results.length) {
  const [svg] = axes(at("parallel"), "all parameters and the accuracy", "");
  svg.querySelectorAll(".grid").forEach(line => line.setAttribute("x1", W - 34));
  svg.querySelectorAll("text").forEach(text => text.setAttribute("x", W - 38));
  const place = i => 30 + i / keys.length * (W - 64);
  const drawn = sweep.settings.filter(s => s.mean !== null);  // a rate that failed would squeeze the others
  const scales = keys.map(k => scale(drawn.map(s => s.values[k] ?? ""), H - FOOT, 14));
  [...keys, "accuracy"].forEach((key, i) => {
    make("line", { x1: place(i), x2: place(i), y1: 14, y2: H - FOOT, class: "axis" }, svg);
    const anchor = i === 0 ? "start" : i === keys.length ? "end" : "middle";
    make("text", { x: i === 0 ? 6 : i === keys.length ? W - 6 : place(i), y: H - 20, "text-anchor": anchor }, svg,
         key.split(".").pop());
  });
  sweep.settings.forEach((s, i) => {
    if (s.mean === null) return;
    const points = keys.map((k, n) => `${place(n)},${scales[n].at(s.values[k] ?? "")}`);
    points.push(`${place(keys.length)},${y(s.mean)}`);
    const line = make("polyline", { points: points.join(" "), class: "curve", style: `stroke: ${colour(i)}` }, svg);
    make("title", {}, line, says(i));
    link(line, i);
  });
  keys.forEach((_, i) => {
    let last = 2 * H;
    for (const t of scales[i].ticks.toSorted((a, b) => scales[i].at(b) - scales[i].at(a))) {
      if (last - scales[i].at(t) < 13) continue;
      last = scales[i].at(t);
      make("text", { x: place(i) + 5, y: last + 4, class: "halo" }, svg, short(t));
    }
  });
}

const columns = [...keys.map(k => k.split(".").pop()), "accuracy %", "± %", "95 % interval", "n", "runs",
                 "against the best"];
const kinds = columns.map((name, i) => i === columns.length - 1 ? ""
  : i < keys.length && sweep.settings.some(s => number(s.values[keys[i]] ?? "0") === null) ? "word"
  : ["± %", "n", "runs"].includes(name) ? "number less" : "number");
const rows = sweep.settings.map((s, i) => ({ i, cells: [...keys.map(k => s.values[k] ?? ""), percent(s.mean),
  percent(s.deviation), s.interval ? s.interval.map(percent).join(" to ") : "", s.count || "",
  s.jobs.filter(n => jobs.get(n).state === "done").length + " of " + s.jobs.length, s.says] }));
function draw(by, down) {
  const sign = down ? -1 : 1;
  const order = (a, b) => {
    const [x, y] = [a.cells[by], b.cells[by]].map(String);
    if (x === "" || y === "") return (x === "") - (y === "");  // rows without a result come last
    const [m, n] = [x, y].map(number);
    return sign * (m !== null && n !== null ? m - n : x.localeCompare(y, undefined, { numeric: true }));
  };
  const table = at("table");
  table.replaceChildren();
  const head = make("tr", {}, make("thead", {}, table));
  columns.forEach((name, i) => {
    const sorted = i !== by ? "none" : down ? "descending" : "ascending";
    const cell = make("th", { scope: "col", "data-sort": "", tabindex: 0, "aria-sort": sorted,
                              class: kinds[i] }, head, name);
    const sort = () => { draw(i, i === by ? !down : i >= keys.length && i < columns.length - 1);
                         table.tHead.rows[0].cells[i].focus(); };
    cell.addEventListener("click", sort);
    cell.addEventListener("keydown", event => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
    });
  });
  const body = make("tbody", {}, table);
  for (const row of [...rows].sort(order)) {
    const s = sweep.settings[row.i];
    const line = make("tr", { class: s.mean === null ? "none" : s.verdict.split(" ")[0] }, body);
    row.cells.forEach((cell, i) => {
      const box = make("td", { class: kinds[i] }, line, cell);
      if (i === 0 && s.mean !== null) make("i", { class: "swatch", style: `background: ${colour(row.i)}` }, box);
    });
    link(line, row.i);
  }
}
draw(keys.length, true);

const best = sweep.best;
const states = Object.entries(sweep.states).filter(([, n]) => n).map(([state, n]) => `${n} ${state}`).join(", ");
at("summary").textContent = [
  `${sweep.jobs.length} jobs: ${states}.`,
  best?.optimism == null || sweep.settings.filter(s => s.mean !== null).length < 2 ? "" :
    `The best of several on these pictures is ${percent(best.optimism)} points too high, on average.`,
  best?.test_says ? `Test set: ${best.test_says}.` : "",
  sweep.same_data ? "" : "Not all jobs had the same pictures: a picture of the same path may be another one.",
  sweep.shared.length ? `All with ${sweep.shared.join(" ")}.` : "",
].join(" ");
at("commands").textContent = best ? `${best.rerun}\n\n${best.train_longer}` : "no run is done";
document.querySelectorAll(".pointed").forEach(e => e.dataset.idle = e.textContent);
