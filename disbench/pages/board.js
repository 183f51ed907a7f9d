"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const card = document.getElementById("card");
  const filters = document.getElementById("filters");
  const DRAWING = "http://www.w3.org/2000/svg";
  const PLOT_HEIGHT = 340;
  const SHAPES = {
    vae: "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0z",
    diffusion: "M0,-6L5.6,4.5L-5.6,4.5z",
    autoencoder: "M-4.5,-4.5h9v9h-9z",
    gan: "M0,6L5.6,-4.5L-5.6,-4.5z",
    "pretrained-gan": "M0,6L5.6,-4.5L-5.6,-4.5z",
    other: "M-2,-6h4v4h4v4h-4v4h-4v-4h-4v-4h4z",
    baseline: "M-4.5,-4.5h9v9h-9z",
    floor: "M-6,2h12v3h-12z",
    ceiling: "M-6,-5h12v3h-12z",
    published: "M0,-6L6,0L0,6L-6,0z",
  };

  function make(name, text, attributes) {
    const element = document.createElement(name);
    if (text !== undefined && text !== null) element.textContent = text;
    for (const key in attributes || {}) element.setAttribute(key, attributes[key]);
    return element;
  }

  function draw(name, attributes, text) {
    const element = document.createElementNS(DRAWING, name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function shown(value) {
    if (value === null || value === undefined) return "none";
    const size = Math.abs(value);
    if (value === 0 || (size >= 1e-3 && size < 100)) return value.toFixed(3);
    return Number(value.toPrecision(3)).toString();
  }

  /* Sorting */

  function keyOf(row, index, kind) {
    const cell = row.cells[index];
    if (kind !== "number") return cell.textContent.toLowerCase();
    const value = cell.dataset.v;
    return value === undefined || value === "" ? null : Number(value);
  }

  function compare(one, other, sign) {
    if (one.key === other.key) return one.place - other.place;
    if (one.key === null || one.key === "") return 1;
    if (other.key === null || other.key === "") return -1;
    return one.key < other.key ? -sign : sign;
  }

  function sortBy(header) {
    const table = header.closest("table");
    const kind = header.dataset.sort;
    const isFirst = header.getAttribute("aria-sort") === "none";
    const before = header.getAttribute("aria-sort");
    const first = kind === "number" && header.dataset.direction !== "lower" ? "descending" : "ascending";
    const next = isFirst ? first : before === "ascending" ? "descending" : "ascending";
    for (const other of table.querySelectorAll("thead th")) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", next);
    for (const body of table.tBodies) {
      const rows = Array.from(body.rows, (row, place) => ({ row, place, key: keyOf(row, header.cellIndex, kind) }));
      rows.sort((one, other) => compare(one, other, next === "ascending" ? 1 : -1));
      body.append(...rows.map((item) => item.row));
    }
  }

  for (const header of document.querySelectorAll(".board thead th")) {
    header.firstElementChild.addEventListener("click", () => sortBy(header));
  }

  /* Filters */

  const find = (id) => document.getElementById(id);

  function columnsOf(table, metric) {
    let found = 0;
    Array.from(table.tHead.rows[0].cells).forEach((header, index) => {
      if (!header.dataset.metric) return;
      const isHidden = metric !== "" && header.dataset.metric !== metric;
      if (!isHidden) found += 1;
      if (header.hidden === isHidden) return;
      header.hidden = isHidden;
      for (const body of table.tBodies) for (const row of body.rows) row.cells[index].hidden = isHidden;
    });
    return found;
  }

  function hasNumber(row) {
    for (const cell of row.cells) if (!cell.hidden && cell.querySelector(".number")) return true;
    return false;
  }

  function filterTable(table, words, family, metric) {
    if (!columnsOf(table, metric)) return 0;
    let found = 0;
    for (const body of table.tBodies) {
      for (const row of body.rows) {
        const text = row.cells[0].textContent.toLowerCase();
        const fits = words.every((word) => text.includes(word)) && (!family || row.dataset.family === family);
        row.hidden = !fits || (metric !== "" && !hasNumber(row));
        if (!row.hidden) found += 1;
      }
    }
    return found;
  }

  function filter() {
    const words = find("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const [family, source, dataset, metric] = ["family", "source", "dataset", "metric"].map((id) => find(id).value);
    const isNarrow = words.length > 0 || family !== "" || metric !== "";
    const counts = { measured: 0, published: 0 };
    for (const section of document.querySelectorAll("main > section[data-dataset]")) {
      let inSection = 0;
      const isChosen = dataset === "" || section.dataset.dataset === dataset;
      for (const block of section.querySelectorAll(".block")) {
        const isWanted = isChosen && (source === "both" || source === block.dataset.source);
        const found = isWanted ? filterTable(block.querySelector("table"), words, family, metric) : 0;
        block.hidden = !found;
        if (block.tagName === "DETAILS") block.open = block.open || (words.length > 0 && found > 0);
        counts[block.dataset.source] += found;
        inSection += found;
      }
      for (const part of section.querySelectorAll(".of-measured")) part.hidden = source === "published";
      const figures = section.querySelector(".figures");
      if (figures) figures.hidden = isNarrow && !inSection;
      section.hidden = !inSection;
    }
    const sum = counts.measured + counts.published;
    find("count").textContent = sum
      ? `${counts.measured} measured rows, ${counts.published} published rows`
      : "Nothing fits: clear a filter";
    drawAll();
  }

  filters.hidden = false;
  filters.addEventListener("input", filter);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(filter));

  /* Where a number comes from */

  let anchor = null;
  let timer = 0;

  function measuredCard(at) {
    const [section, board, row, column] = at.split(" ").map(Number);
    const described = data.sections[section].boards[board];
    const [label, , , cells] = described.rows[row];
    const [header, direction, meaning] = described.columns[column];
    const [mean, low, high, std, n, rank, reason, records, values] = cells[column];
    card.append(make("h4", `${header}: ${label}`));
    card.append(make("p", direction ? `${meaning}; ${direction} is better` : meaning, { class: "dim" }));
    const said = mean === null ? reason : `${shown(mean)} over ${n} ${n === 1 ? "model" : "train seeds"}`;
    const more = [std === null ? "" : `standard deviation ${shown(std)}`];
    more.push(low === null ? "" : `95 % interval of the mean ${shown(low)} to ${shown(high)}`);
    more.push(rank === null ? "" : `rank ${rank}`);
    card.append(make("p", [said, ...more.filter(Boolean)].join("; ")));
    const list = make("ul");
    records.forEach((record, index) => list.append(recordLine(data.records[record], values[index])));
    if (n > records.length) list.append(make("li", `and ${n - records.length} more records`));
    card.append(list);
  }

  function recordLine(record, value) {
    const [file, link, line, hash, model, seed, command, trained] = record;
    const item = make("li");
    const seedText = seed === null ? "" : `, train seed ${seed}`;
    item.append(make("div", `${shown(value)}: ${model}${seedText}`));
    const where = make("div", null, { class: "dim" });
    const place = `${file}:${line}`;
    where.append(link === null ? make("span", place) : make("a", place, { href: link }), `, hash ${hash}`);
    item.append(where);
    if (trained) item.append(make("code", trained));
    if (command) item.append(make("code", command));
    return item;
  }

  function publishedCard(place) {
    const [method, text, metric, dataset, spread, source, read, note, seeds, , printed] = data.numbers[place];
    card.append(make("h4", `${method}: ${text}`));
    card.append(make("p", `published as ${metric}, ${dataset}`, { class: "dim" }));
    const said = [`From ${source}: ${read}`, spread ? `± is ${spread}` : "", seeds === null ? "number of seeds not said" : ""];
    if (seeds !== null) said.push(seeds === 1 ? "one train seed" : `${seeds} train seeds`);
    card.append(make("p", said.filter(Boolean).join("; ") + "."));
    if (note) card.append(make("p", note));
    const list = make("ul");
    for (const [where, label, heading, cell, remark] of printed) {
      const item = make("li", `${where} prints ${cell}`);
      item.append(make("div", `row ${label}, column ${heading}${remark ? `. ${remark}` : ""}`, { class: "dim" }));
      list.append(item);
    }
    if (printed.length) card.append(list);
  }

  function open(element) {
    clearTimeout(timer);
    if (anchor === element && !card.hidden) return;
    close();
    anchor = element;
    if (element.dataset.said !== undefined) card.append(make("p", element.dataset.said));
    else if (element.dataset.at !== undefined) measuredCard(element.dataset.at);
    else publishedCard(Number(element.dataset.number));
    card.hidden = false;
    card.scrollTop = 0;
    element.setAttribute("aria-describedby", "card");
    place();
  }

  function place() {
    const box = anchor.getBoundingClientRect();
    const size = card.getBoundingClientRect();
    const left = Math.max(8, Math.min(box.left, document.documentElement.clientWidth - size.width - 8));
    const fitsBelow = box.bottom + 6 + size.height <= window.innerHeight;
    card.style.left = `${left}px`;
    card.style.top = `${fitsBelow ? box.bottom + 6 : Math.max(8, box.top - size.height - 6)}px`;
  }

  function close() {
    clearTimeout(timer);
    card.hidden = true;
    card.textContent = "";
    if (anchor) anchor.removeAttribute("aria-describedby");
    anchor = null;
  }

  function later(what, delay) {
    clearTimeout(timer);
    timer = setTimeout(what, delay);
  }

  const marked = (event) => (event.target.closest ? event.target.closest("[data-at], [data-number], [data-said]") : null);
  let touched = null;
  document.addEventListener("pointerdown", (event) => {
    const element = marked(event);
    touched = event.pointerType !== "mouse" && element ? element : null;
    if (!element && !card.contains(event.target)) close();
  });
  document.addEventListener("click", (event) => {
    const element = marked(event);
    if (!element) return;
    if (touched === element || element.tagName !== "A") {
      event.preventDefault();
      open(element);
    }
    touched = null;
  });
  document.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "mouse") return;
    const element = marked(event);
    if (element) later(() => open(element), anchor ? 60 : 160);
    else if (card.contains(event.target)) clearTimeout(timer);
    else if (anchor && anchor !== document.activeElement) later(close, 250);
    else clearTimeout(timer);
  });
  document.addEventListener("focusin", (event) => {
    const element = marked(event);
    if (element) {
      if (element.matches(":focus-visible")) open(element);
    } else if (!card.contains(event.target)) close();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });
  document.addEventListener("scroll", (event) => {
    if (event.target === card || !anchor) return;
    const box = anchor.getBoundingClientRect();
    if (box.bottom < 0 || box.top > window.innerHeight) close();
    else place();
  }, true);

  /* Plots */

  function ticks(low, high, most) {
    const rough = (high - low) / most;
    const power = Math.pow(10, Math.floor(Math.log10(rough)));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) found.push(k * step);
    return { at: found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
  }

  function tickText(value, digits) {
    if (Math.abs(value) >= 10000) return `${Number((value / 1000).toFixed(1))}k`;
    return value.toFixed(digits);
  }

  function range(values) {
    const low = Math.min(...values);
    const high = Math.max(...values);
    const pad = (high - low) * 0.07 || Math.abs(high) * 0.1 || 1;
    return [low - pad, high + pad];
  }

  function axes(host, xs, ys, xName, yName) {
    const width = Math.max(260, host.clientWidth);
    const box = { left: 48, top: 10, right: width - 14, bottom: PLOT_HEIGHT - 42 };
    const place = {
      x: (value) => box.left + ((value - xs[0]) / (xs[1] - xs[0])) * (box.right - box.left),
      y: (value) => box.bottom - ((value - ys[0]) / (ys[1] - ys[0])) * (box.bottom - box.top),
    };
    const svg = draw("svg", { width, height: PLOT_HEIGHT, role: "img", "aria-label": `${yName} against ${xName}` });
    const across = ticks(xs[0], xs[1], width < 420 ? 4 : 7);
    for (const value of across.at) {
      const x = place.x(value);
      svg.append(draw("line", { class: "grid", x1: x, x2: x, y1: box.top, y2: box.bottom }));
      svg.append(draw("text", { x, y: box.bottom + 15, "text-anchor": "middle" }, tickText(value, across.digits)));
    }
    const up = ticks(ys[0], ys[1], 6);
    for (const value of up.at) {
      const y = place.y(value);
      svg.append(draw("line", { class: "grid", x1: box.left, x2: box.right, y1: y, y2: y }));
      svg.append(draw("text", { x: box.left - 6, y: y + 4, "text-anchor": "end" }, tickText(value, up.digits)));
    }
    const middle = (box.left + box.right) / 2;
    svg.append(draw("text", { class: "axis", x: middle, y: PLOT_HEIGHT - 6, "text-anchor": "middle" }, xName));
    const turned = `translate(12,${(box.top + box.bottom) / 2}) rotate(-90)`;
    svg.append(draw("text", { class: "axis", transform: turned, "text-anchor": "middle" }, yName));
    host.append(svg);
    return { svg, place, box };
  }

  function choice(host, label, names, chosen, changed) {
    const outer = make("label", label);
    const select = make("select");
    for (const name of names) select.append(new Option(name, name, false, name === chosen));
    select.addEventListener("change", changed);
    outer.append(select);
    host.append(outer);
    return select;
  }

  /* What can be drawn of a section: its boards, and its published numbers; of each, points by value name. */
  function groupsOf(section) {
    const groups = section.boards.map((board) => ({
      name: `measured, ${board.title}`,
      source: "measured",
      values: board.columns.map((column) => column[0]),
      points: board.rows.map(([label, family, kind, cells]) => {
        const numbers = {};
        board.columns.forEach((column, k) => {
          if (cells[k] !== null && cells[k][0] !== null) numbers[column[0]] = cells[k];
        });
        return { label, family, kind, numbers };
      }),
    }));
    const points = section.published.filter((row) => row[1] === "").map(([method, , family, paper, places]) => {
      const numbers = {};
      for (const metric in places) numbers[metric] = [data.numbers[places[metric]][9], null, null];
      return { label: `${method} (${paper})`, short: method, family, kind: "published", numbers };
    });
    if (points.length) {
      const values = Array.from(new Set(points.flatMap((point) => Object.keys(point.numbers))));
      groups.push({ name: "published", source: "published", values, points });
    }
    return groups;
  }

  function pairs(points, x, y) {
    return points.filter((point) => point.numbers[x] !== undefined && point.numbers[y] !== undefined);
  }

  function bestPair(group) {
    const wanted = [["mig", "dci.disentanglement"], ["factor_vae", "dci.disentanglement"], ["dci.completeness", "dci.disentanglement"]];
    for (const [x, y] of wanted) if (pairs(group.points, x, y).length > 1) return [x, y];
    for (const x of group.values) for (const y of group.values) {
      if (x !== y && pairs(group.points, x, y).length > 1) return [x, y];
    }
    return null;
  }

  function shapeOf(point) {
    if (point.kind === "trained") return SHAPES[point.family] || SHAPES.other;
    return SHAPES[point.kind] || SHAPES.other;
  }

  function classOf(point) {
    if (point.kind === "published") return "point is-published";
    if (point.kind !== "trained") return "point is-open";
    return `point ${SHAPES[point.family] ? point.family : "other"}`;
  }

  function overlaps(one, other) {
    return one.x < other.x + other.w && other.x < one.x + one.w && one.y < other.y + other.h && other.y < one.y + one.h;
  }

  function nameOf(point) {
    const name = point.short || point.label;
    return name.length > 26 ? `${name.slice(0, 25)}…` : name;
  }

  function label(plot, point, x, y, taken) {
    const name = nameOf(point);
    const w = name.length * 6.1 + 2;
    const tries = [[9, -7, "start"], [-9 - w, -7, "end"], [-w / 2, -22, "middle"], [-w / 2, 8, "middle"]];
    for (const [dx, dy, side] of tries) {
      const box = { x: x + dx, y: y + dy, w, h: 13 };
      if (box.x < plot.box.left || box.x + w > plot.box.right + 10 || box.y < 0 || box.y + 13 > plot.box.bottom) continue;
      if (taken.some((other) => overlaps(box, other))) continue;
      taken.push(box);
      const at = side === "start" ? box.x : side === "end" ? box.x + w : x;
      plot.svg.append(draw("text", { class: "name", x: at, y: box.y + 11, "text-anchor": side }, name));
      return;
    }
  }

  function drawScatter(host, group, x, y) {
    host.textContent = "";
    const points = pairs(group.points, x, y);
    if (!points.length) {
      host.append(make("p", "No row has both.", { class: "quiet" }));
      return;
    }
    const plot = axes(host, range(points.map((p) => p.numbers[x][0])), range(points.map((p) => p.numbers[y][0])), x, y);
    const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
    const taken = [];
    const marks = draw("g", {});
    for (const point of points) {
      const [mx, lx, hx] = point.numbers[x];
      const [my, ly, hy] = point.numbers[y];
      const [px, py] = [plot.place.x(mx), plot.place.y(my)];
      const inX = (value) => clamp(plot.place.x(value), plot.box.left, plot.box.right);
      const inY = (value) => clamp(plot.place.y(value), plot.box.top, plot.box.bottom);
      if (lx !== null) plot.svg.append(draw("line", { class: "cross", x1: inX(lx), x2: inX(hx), y1: py, y2: py }));
      if (ly !== null) plot.svg.append(draw("line", { class: "cross", x1: px, x2: px, y1: inY(ly), y2: inY(hy) }));
      const mark = draw("path", { class: classOf(point), d: shapeOf(point), transform: `translate(${px},${py})` });
      mark.dataset.said = `${point.label}: ${x} ${shown(mx)}, ${y} ${shown(my)}`;
      marks.append(mark);
      taken.push({ x: px - 6, y: py - 6, w: 12, h: 12 });
    }
    plot.svg.append(marks);
    for (const point of points) label(plot, point, plot.place.x(point.numbers[x][0]), plot.place.y(point.numbers[y][0]), taken);
    host.append(keyOfPoints(points));
  }

  function keyOfPoints(points) {
    const list = make("ul", null, { class: "key" });
    const seen = new Set();
    for (const point of points) {
      const name = point.kind === "trained" ? point.family : point.kind;
      if (seen.has(name)) continue;
      seen.add(name);
      const item = make("li");
      const svg = draw("svg", { width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true" });
      svg.append(draw("path", { class: classOf(point), d: shapeOf(point) }));
      item.append(svg, name);
      list.append(item);
    }
    return list;
  }

  const redraws = [];

  function setScatter(figure) {
    const section = data.sections[Number(figure.dataset.section)];
    const groups = groupsOf(section).filter((group) => bestPair(group) !== null);
    const said = figure.querySelector(".said");
    if (!groups.length) {
      said.textContent = "No two scores of two or more methods.";
      return;
    }
    said.textContent = "Each mark is a method; the thin lines are 95 % intervals over train seeds.";
    const controls = figure.querySelector(".controls");
    const host = figure.querySelector(".drawing");
    let group = groups[0];
    let selects = [];
    const redraw = () => drawScatter(host, group, selects[0].value, selects[1].value);
    const from = choice(controls, "From", groups.map((one) => one.name), group.name, () => setGroup(from.value));
    function setGroup(name) {
      group = groups.find((one) => one.name === name);
      for (const select of selects) select.parentElement.remove();
      const [x, y] = bestPair(group);
      selects = [choice(controls, "Across", group.values, x, redraw), choice(controls, "Up", group.values, y, redraw)];
      redraw();
    }
    setGroup(group.name);
    redraws.push({ host, redraw });
  }

  function drawPanel(part, panel, value) {
    const series = panel.series.filter((one) => one.points[value]);
    part.append(make("h4", panel.title, { class: `of-${panel.source}` }));
    const points = series.flatMap((one) => one.points[value]);
    const most = Math.max(...points.map((point) => point[0]));
    const plot = axes(part, [0, most * 1.03 || 1], range(points.map((point) => point[1])), "training steps", value);
    const list = make("ul", null, { class: "key" });
    series.forEach((one, k) => {
      const colour = (k + (panel.source === "published" ? 1 : 0)) % 6;
      const at = one.points[value].map(([step, number]) => [plot.place.x(step), plot.place.y(number)]);
      const dashes = panel.source === "published" ? { "stroke-dasharray": "6 4" } : {};
      plot.svg.append(draw("path", { class: `run run${colour}`, d: `M${at.map((p) => p.join(",")).join("L")}`, ...dashes }));
      one.points[value].forEach(([step, number], j) => {
        const dot = draw("circle", { class: `dot dot${colour}`, cx: at[j][0], cy: at[j][1], r: 3.5 });
        dot.dataset.said = `${one.label}, step ${step}: ${value} ${shown(number)}`;
        plot.svg.append(dot);
      });
      const item = make("li");
      const svg = draw("svg", { width: 22, height: 12, "aria-hidden": "true" });
      svg.append(draw("path", { class: `run run${colour}`, d: "M0,6H22", ...dashes }));
      item.append(svg, one.label);
      list.append(item);
    });
    part.append(list);
  }

  function setSteps(figure) {
    const panels = data.sections[Number(figure.dataset.section)].panels;
    if (!panels.length) return;
    const host = figure.querySelector(".drawing");
    const values = Array.from(new Set(panels.flatMap((p) => p.series.flatMap((one) => Object.keys(one.points)))));
    const first = values.includes("dci.disentanglement") ? "dci.disentanglement" : values[0];
    const redraw = () => {
      host.textContent = "";
      const drawn = panels.filter((panel) => panel.series.some((one) => one.points[select.value]));
      const parts = drawn.map(() => make("div"));
      host.append(...parts);
      drawn.forEach((panel, k) => drawPanel(parts[k], panel, select.value));
    };
    const select = choice(figure.querySelector(".controls"), "Score", values, first, redraw);
    redraw();
    redraws.push({ host, redraw });
  }

  function drawAll() {
    for (const one of redraws) if (one.host.clientWidth) one.redraw();
  }

  document.querySelectorAll("figure.scatter").forEach(setScatter);
  document.querySelectorAll("figure.steps").forEach(setSteps);
  let drawnWidth = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === drawnWidth) return;
    drawnWidth = window.innerWidth;
    later(drawAll, 120);
  });
  filter();
})();
