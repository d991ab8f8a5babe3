// Draws a sweep from `sweep`, what sweep.json has: table, charts, and what is pointed at in each.
const jobs = new Map(sweep.jobs.map(job => [job.number, job]));
const rows = sweep.configurations;
const keys = [...new Set(rows.flatMap(row => Object.keys(row.values)))];
const at = id => document.getElementById(id);
const percent = x => x === null || x === undefined ? "" : (100 * x).toFixed(1);
const signed = x => (x < 0 ? "−" : "+") + Math.abs(100 * x).toFixed(1);
const number = text => text !== undefined && String(text).trim() !== "" && isFinite(text) ? Number(text) : null;
const colour = i => `hsl(${(i * 137.5 + 210) % 360} 62% var(--lightness))`;
const short = t => number(t) !== null && String(t).length > 8 ? Number(Number(t).toPrecision(3)).toExponential() : String(t);
const lastPart = key => key.split(".").pop();
const shortKey = key => keys.filter(k => lastPart(k) === lastPart(key)).length === 1 ? lastPart(key) : key;
const W = Math.max(310, Math.min(520, document.body.clientWidth - 60)), H = 290, LEFT = 58, FOOT = 46;

function make(name, attributes, parent, text) {
  const space = ["svg", "g", "line", "circle", "text", "title", "polyline", "polygon"].includes(name);
  const element = space ? document.createElementNS("http://www.w3.org/2000/svg", name)
                        : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent?.append(element);
  return element;
}
function describe(i) {
  const row = rows[i];
  const values = keys.map(k => `${shortKey(k)} ${row.values[k] ?? ""}`).join(", ") || "all runs";
  return `${values}: ${row.mean === null ? "" : percent(row.mean) + " %, "}${row.verdict}`;
}
// what belongs to a configuration is marked everywhere while one of its marks is pointed at
function link(element, i) {
  element.dataset.row = i;
  element.addEventListener("mouseenter", () => mark(i, true));
  element.addEventListener("mouseleave", () => mark(i, false));
}
function mark(i, on) {
  document.body.classList.toggle("pointing", on);
  document.querySelectorAll(`[data-row="${i}"]`).forEach(e => e.classList.toggle("on", on));
  document.querySelectorAll(".pointed").forEach(e => e.textContent = on ? describe(i) : e.dataset.idle);
}

// a scale of a parameter's values: log for numbers that range widely, linear, or one place each
function scale(values, low, high) {
  const all = values.map(number).filter(v => v !== null);
  if (all.length === values.length && new Set(all).size > 2) {
    const log = Math.min(...all) > 0 && Math.max(...all) / Math.min(...all) >= 20;
    const f = log ? Math.log10 : v => v;
    const [a, b] = [f(Math.min(...all)), f(Math.max(...all))];
    return { at: t => low + (f(Number(t)) - a) / (b - a) * (high - low), log,
             ticks: [...new Map(values.map(v => [Number(v), v])).entries()].sort(([x], [y]) => x - y).map(([, v]) => v), room: 44 };
  }
  const words = [...new Set(values)].sort((x, y) => x.localeCompare(y, undefined, { numeric: true }));
  return { room: .8 * (high - low) / words.length, log: false, ticks: words,
           at: t => low + (words.indexOf(t) + .5) / words.length * (high - low) };
}

// an axis of accuracies that fits the values
function axis(values) {
  const low = Math.min(...values), high = Math.max(...values);
  const step = [.001, .002, .005, .01, .02, .05, .1, .2].find(s => (high - low) / s <= 5) ?? .25;
  const floor = Math.max(0, Math.floor(low / step - .2) * step);
  const top = Math.min(1, Math.ceil(high / step + .2) * step);
  const y = v => H - FOOT - (v - floor) / (top - floor) * (H - FOOT - 18);
  const ticks = Array.from({ length: Math.round((top - floor) / step) + 1 }, (_, i) => floor + i * step);
  return { y, ticks, digits: step < .01 ? 1 : 0 };
}
function chart(parent, title, bottom, { y, ticks, digits }) {
  const figure = make("figure", {}, parent);
  const svg = make("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${title} by ${bottom}` }, figure);
  for (const v of ticks) {
    make("line", { x1: LEFT, x2: W - 8, y1: y(v), y2: y(v), class: "grid" }, svg);
    make("text", { x: LEFT - 6, y: y(v) + 4, "text-anchor": "end" }, svg, (100 * v).toFixed(digits) + " %");
  }
  make("text", { x: (W + LEFT) / 2, y: H - 6, "text-anchor": "middle" }, svg, bottom);
  return svg;
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

const done = rows.map((row, i) => [row, i]).filter(([row]) => row.mean !== null);
const inRows = done.flatMap(([row]) => [row.mean, ...(row.interval ?? []),
  ...row.jobs.map(n => jobs.get(n).accuracy).filter(v => v !== null)]);
for (const key of keys) {
  const shown = done.filter(([row]) => key in row.values);
  if (!shown.length) continue;
  const x = scale(shown.map(([row]) => row.values[key]), LEFT + 24, W - 34), across = axis(inRows), y = across.y;
  const svg = chart(at("parameters"), "validation accuracy", key + (x.log ? " (log)" : ""), across);
  ticks(svg, x, x.ticks);
  const beside = new Map();  // configurations with the same value of this key stand beside each other
  for (const [row] of shown) beside.set(row.values[key], (beside.get(row.values[key]) ?? 0) + 1);
  const placed = new Map();
  for (const [row, i] of shown) {
    const value = row.values[key], place = placed.get(value) ?? 0, all = beside.get(value);
    placed.set(value, place + 1);
    const here = x.at(value) + (place - (all - 1) / 2) * Math.min(14, x.room / all);
    const g = make("g", { style: `stroke: ${colour(i)}`, class: "mark" }, svg);
    if (row.interval) make("line", { x1: here, x2: here, y1: y(row.interval[0]), y2: y(row.interval[1]) }, g);
    make("circle", { cx: here, cy: y(row.mean), r: 6 }, g);
    row.jobs.map(n => jobs.get(n)).filter(j => j.state === "done" && j.accuracy !== null).forEach((j, k, runs) =>
      make("circle", { cx: here + (k - (runs.length - 1) / 2) * 4, cy: y(j.accuracy), r: 2.2,
                       class: "dot", style: `fill: ${colour(i)}` }, g));
    make("title", {}, g, describe(i));
    link(g, i);
  }
}
if (!keys.length || !done.length) at("parameters").replaceChildren(make("p", {}, null, "There is nothing to draw."));

// a ring of a configuration with its interval
function ring(svg, x, y, row, i) {
  const g = make("g", { style: `stroke: ${colour(i)}`, class: "mark" }, svg);
  if (row.interval) make("line", { x1: x, x2: x, y1: y(row.interval[0]), y2: y(row.interval[1]) }, g);
  make("circle", { cx: x, cy: y(row.mean), r: 6 }, g);
  make("title", {}, g, describe(i));
  link(g, i);
}
const timed = done.filter(([row]) => row.ms_per_image !== null);
if (keys.includes("model.backbone") && timed.length > 1) {
  at("networks").hidden = false;
  const times = timed.map(([row]) => String(row.ms_per_image.toPrecision(2)));
  const across = axis(inRows), x = scale(times, LEFT + 24, W - 34);
  const svg = chart(at("networks").querySelector(".row"), "validation accuracy", "ms an image" + (x.log ? " (log)" : ""), across);
  ticks(svg, x, x.ticks);
  timed.forEach(([row, i], k) => {
    ring(svg, x.at(times[k]), across.y, row, i);
    const right = x.at(times[k]) > W * .7;
    make("text", { x: x.at(times[k]) + (right ? -10 : 10), y: across.y(row.mean) + 4, "text-anchor": right ? "end" : "start" },
         svg, row.values["model.backbone"]);
  });
}
for (const curve of sweep.learning_curves) {
  at("learning").hidden = false;
  const across = axis([...curve.low, ...curve.high, ...curve.accuracies, ...curve.intervals.flat().filter(v => v !== null)]), y = across.y;
  const x = scale([...curve.grid].map(String), LEFT + 24, W - 34);
  const svg = chart(at("learning").querySelector(".row"), "validation accuracy", "training images" + (x.log ? " (log)" : "")
                    + (curve.label ? `, ${curve.label}` : ""), across);
  ticks(svg, x, [...curve.sizes, curve.grid.at(-1)].map(String));
  const at_ = (values, k) => `${x.at(curve.grid[k])},${y(values[k])}`, all = curve.grid.map((_, k) => k);
  make("polygon", { class: "band", style: `fill: ${colour(0)}`, points: [...all.map(k => at_(curve.low, k)),
    ...all.toReversed().map(k => at_(curve.high, k))].join(" ") }, svg);
  make("polyline", { class: "curve", style: `stroke: ${colour(0)}`, points: all.map(k => at_(curve.curve, k)).join(" ") }, svg);
  curve.sizes.forEach((size, k) => {
    const g = make("g", { style: `stroke: ${colour(0)}`, class: "mark" }, svg), ends = curve.intervals[k], here = x.at(size);
    if (ends) make("line", { x1: here, x2: here, y1: y(ends[0]), y2: y(ends[1]) }, g);
    make("circle", { cx: here, cy: y(curve.accuracies[k]), r: 5 }, g);
    make("title", {}, g, `${size} images: ${percent(curve.accuracies[k])} %`);
  });
}

const curves = rows.flatMap((row, i) => row.jobs.map(n => [n, i,
  jobs.get(n).curve.filter(point => (point["val/accuracy"] ?? null) !== null)])).filter(([, , c]) => c.length > 1);
if (curves.length) {
  const across = axis(curves.flatMap(([, , c]) => c.map(point => point["val/accuracy"])));
  const svg = chart(at("curves"), "validation accuracy", "epoch", across);
  const longest = Math.max(2, ...curves.flatMap(([, , c]) => c.map(point => point.epoch)));
  const x = { at: epoch => LEFT + 12 + (epoch - 1) / (longest - 1) * (W - LEFT - 34) };
  ticks(svg, x, Array.from({ length: longest }, (_, i) => i + 1));
  for (const [n, i, points] of curves) {
    const line = make("polyline", { class: "curve", style: `stroke: ${colour(i)}`,
      points: points.map(p => `${x.at(p.epoch)},${across.y(p["val/accuracy"])}`).join(" ") }, svg);
    make("title", {}, line, `job ${n}, ${describe(i)}`);
    link(line, i);
  }
} else make("p", {}, at("curves"), "No run has two epochs.");

const sizes = keys.includes("model.backbone") ? { "M parameters": "parameters_m", "ms an image": "ms_per_image", MB: "size_mb" } : {};
const columns = [...keys.map(shortKey), ...Object.keys(sizes), "accuracy %", "± %", "95 % interval", "images", "runs", "points from the best", "verdict"];
const kinds = columns.map((name, i) => i === columns.length - 1 ? ""
  : i < keys.length && rows.some(row => number(row.values[keys[i]] ?? "0") === null) ? "word"
  : [...Object.keys(sizes), "± %", "95 % interval", "images", "runs"].includes(name) ? "number less" : "number");
const cells = rows.map((row, i) => ({ i, cells: [...keys.map(k => row.values[k] ?? ""),
  ...Object.values(sizes).map(name => row[name]?.toFixed(1) ?? ""), percent(row.mean),
  percent(row.deviation), row.interval ? row.interval.map(percent).join(" to ") : "", row.count || "",
  row.jobs.filter(n => jobs.get(n).state === "done").length + " of " + row.jobs.length,
  row.difference === null ? "" : `${signed(row.difference)} (${row.difference_interval.map(signed).join(" to ")})`,
  row.verdict] }));
function draw(by, down) {
  const sign = down ? -1 : 1;
  const plain = text => { const n = parseFloat(String(text).replace("−", "-")); return isNaN(n) ? null : n; };
  const order = (a, b) => {
    const [x, y] = [a.cells[by], b.cells[by]].map(String);
    if (x === "" || y === "") return (x === "") - (y === "");  // rows without a result come last
    const [m, n] = kinds[by].startsWith("number") ? [x, y].map(plain) : [null, null];
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
  for (const { i, cells: texts } of [...cells].sort(order)) {
    const row = rows[i];
    const line = make("tr", { class: row.mean === null ? "none" : row.verdict.split(" ")[0] }, body);
    texts.forEach((text, k) => {
      const box = make("td", { class: kinds[k] }, line);
      const [first, ...rest] = columns[k] === "points from the best" ? String(text).split(/(?= \()/) : [text];
      box.append(first, ...rest.map(part => make("span", { class: "less" }, null, part)));
      if (k === 0 && row.mean !== null) make("i", { class: "swatch", style: `background: ${colour(i)}` }, box);
    });
    link(line, i);
  }
}
draw(keys.length + Object.keys(sizes).length, true);
document.querySelectorAll(".pointed").forEach(e => e.dataset.idle = e.textContent);
