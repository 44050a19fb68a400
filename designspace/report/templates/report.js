"use strict";
(() => {
  const { names, rows, stages } = JSON.parse(document.getElementById("data").textContent);
  const [POP, INDEX, ID, STATE, RANK, ERROR, FLOPS, PARAMS, ACTS, SHAPE] = rows.length ? rows[0].keys() : [];
  const PAGE = 25;
  const body = document.querySelector("#models tbody");
  const heads = [...document.querySelectorAll("#models thead th")];
  const find = document.getElementById("find");
  const population = document.getElementById("population");
  const state = document.getElementById("state");
  const status = document.getElementById("shown");
  const [previous, next] = [document.getElementById("previous"), document.getElementById("next")];
  let order = { column: ERROR, down: false };
  let page = 0;

  const element = (name, properties = {}, ...children) => {
    const made = document.createElement(name);
    Object.assign(made, properties);
    made.append(...children);
    return made;
  };
  const quantity = (value) => {
    if (value === null) return "–";
    for (const [suffix, unit] of [["G", 1e9], ["M", 1e6], ["K", 1e3]])
      if (value >= unit) return (value / unit).toPrecision(4) + suffix;
    return String(value);
  };
  const compare = (a, b) => {
    const [x, y] = [a[order.column], b[order.column]];
    if (x === y) return a[POP] - b[POP] || a[INDEX] - b[INDEX];
    if (x === null) return 1;
    if (y === null) return -1;
    const sign = typeof x === "string" ? x.localeCompare(y) : x - y;
    return order.down ? -sign : sign;
  };
  const wanted = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    return rows.map((row, place) => Object.assign([...row], { place })).filter((row) =>
      (population.value === "" || row[POP] === Number(population.value)) &&
      (state.value === "" || row[STATE] === state.value) &&
      words.every((word) => `${row[ID]} ${row[INDEX]} ${names[row[POP]]} ${row[SHAPE]}`.toLowerCase().includes(word)));
  };

  const SVG = "http://www.w3.org/2000/svg";
  const shape = (name, attributes, text) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  /* A network as blocks from input to output: a stage's blocks side by side, as high as they are wide. */
  const draw = (row) => {
    const known = stages[row.place];
    if (!known) return element("p", { className: "note", textContent: "Its stages are not known." });
    const [depths, widths, kinds] = known;
    const total = depths.reduce((sum, d) => sum + d, 0);
    const across = Math.max(320, Math.min(680, body.clientWidth - 20));
    const gap = 18, left = 8, height = 150, base = 112;
    /* A stage is at least as wide as its label. */
    const room = across - 2 * left - gap * (depths.length - 1) - depths.reduce((sum, d) => sum + (d < 3 ? 48 : 0), 0);
    const step = Math.max(1.5, Math.min(22, room / total));
    const span = (depth) => Math.max(48, depth * step);
    const words = depths.map((d, i) => `stage ${i + 1}: ${d} blocks of width ${widths[i]}, ${kinds[i]}`).join("; ");
    const svg = shape("svg", { class: `p${row[POP]}`, viewBox: `0 0 ${across} ${height}`, role: "img", "aria-label": words });
    const tallest = Math.log2(Math.max(...widths) / 4);
    let x = left;
    depths.forEach((depth, i) => {
      const tall = Math.max(6, 96 * Math.log2(widths[i] / 4) / tallest);
      const start = x + (span(depth) - depth * step) / 2;
      for (let j = 0; j < depth; j += 1)
        svg.append(shape("rect", { x: start + j * step, y: base - tall, width: Math.max(1, step - Math.min(2, step / 3)), height: tall, rx: 2, fill: "currentColor" }));
      const middle = x + span(depth) / 2;
      const line = (y, text) => svg.append(shape("text", { x: middle, y, "text-anchor": "middle", "font-size": 11, fill: "var(--ink)" }, text));
      line(base + 15, `${depth} × ${widths[i]}`);
      line(base + 29, kinds[i]);
      x += span(depth) + gap;
    });
    return svg;
  };
  const open = (row, line, toggle) => {
    const opened = line.classList.toggle("open");
    toggle.setAttribute("aria-expanded", String(opened));
    if (!opened) { line.nextSibling.remove(); return; }
    const words = `${row[ID]}: ${row[STATE]}, rank ${row[RANK] ?? "–"}, ${quantity(row[FLOPS])} flops, ${quantity(row[PARAMS])} params, ${quantity(row[ACTS])} acts; ${row[SHAPE]}`;
    const note = element("p", { className: "note", textContent: words });
    const cell = element("td", { colSpan: heads.length, className: "network" }, draw(row), note);
    line.after(element("tr", { className: "drawn" }, cell));
  };
  const lineOf = (row) => {
    const toggle = element("button", { type: "button", textContent: row[INDEX] });
    toggle.setAttribute("aria-expanded", "false");
    toggle.setAttribute("aria-label", `Model ${row[INDEX]} of ${names[row[POP]]}: draw its stages`);
    const mark = element("span", { className: `mark p${row[POP]}` });
    const line = element("tr", {},
      element("td", {}, toggle),
      element("td", { className: "left name" }, mark, names[row[POP]]),
      element("td", { textContent: row[ERROR] === null ? "–" : row[ERROR].toFixed(2) }),
      element("td", { className: "minor", textContent: row[RANK] ?? "–" }),
      element("td", { className: "left minor", textContent: row[STATE] }),
      ...[FLOPS, PARAMS, ACTS].map((column) => element("td", { className: column === FLOPS ? "" : "minor", textContent: quantity(row[column]) })),
      element("td", { className: "shape minor", textContent: row[SHAPE] }));
    line.addEventListener("click", (event) => { if (event.target === toggle || !event.target.closest("button")) open(row, line, toggle); });
    return line;
  };
  const show = () => {
    const found = wanted().sort(compare);
    page = Math.min(page, Math.max(0, Math.ceil(found.length / PAGE) - 1));
    const start = page * PAGE;
    body.replaceChildren(...found.slice(start, start + PAGE).map(lineOf));
    status.textContent = found.length ? `${start + 1}–${Math.min(start + PAGE, found.length)} of ${found.length}` : "no model fits";
    previous.disabled = page === 0;
    next.disabled = start + PAGE >= found.length;
    for (const head of heads) {
      const column = Number(head.dataset.column);
      head.setAttribute("aria-sort", column === order.column ? (order.down ? "descending" : "ascending") : "none");
    }
  };
  const again = () => { page = 0; show(); };
  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const column = Number(head.dataset.column);
      order = { column, down: order.column === column && !order.down };
      again();
    });
  }
  find.addEventListener("input", again);
  population.addEventListener("change", again);
  state.addEventListener("change", again);
  previous.addEventListener("click", () => { page -= 1; show(); });
  next.addEventListener("click", () => { page += 1; show(); });
  show();
})();
