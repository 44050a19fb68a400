const { names, rows, stages, curves } = JSON.parse(document.getElementById("data").textContent);
const [POP, INDEX, ID, STATE, RANK, ERROR, FLOPS, PARAMS, ACTS, SHAPE] = Array(10).keys();
rows.forEach((row, place) => { row.place = place; });

const element = (name, properties = {}, ...children) => {
  const node = document.createElement(name);
  Object.assign(node, properties);
  node.append(...children);
  return node;
};

const SVG = "http://www.w3.org/2000/svg";
const shape = (name, attributes, text) => {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
};
/* A network as blocks from input to output: a stage's blocks side by side, as tall as they are wide. */
const draw = (row, across) => {
  if (!stages[row.place]) return element("p", { className: "note", textContent: "Its stages are unknown." });
  const [depths, widths, kinds] = stages[row.place];
  const total = depths.reduce((sum, d) => sum + d, 0);
  const gap = 18, left = 8, height = 150, base = 112;
  /* A stage is at least as wide as its label. */
  const room = across - 2 * left - gap * (depths.length - 1) - depths.reduce((sum, d) => sum + (d < 3 ? 48 : 0), 0);
  const step = Math.max(1.5, Math.min(22, room / total));
  const span = (depth) => Math.max(48, depth * step);
  const words = depths.map((d, i) => `stage ${i + 1}: ${d} ${d === 1 ? "block" : "blocks"} of width ${widths[i]}, ${kinds[i]}`).join("; ");
  const svg = shape("svg", { class: `p${row[POP]}`, viewBox: `0 0 ${across} ${height}`, role: "img", "aria-label": words });
  const least = Math.min(4, Math.min(...widths) / 2), tallest = Math.log2(Math.max(...widths) / least);
  let x = left;
  depths.forEach((depth, i) => {
    const tall = Math.max(6, 96 * Math.log2(widths[i] / least) / tallest);
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
const quantity = (value) => {
  if (value === null) return "–";
  for (const [suffix, unit] of [["G", 1e9], ["M", 1e6], ["K", 1e3]])
    if (value >= unit) return (value / unit).toPrecision(4) + suffix;
  return String(value);
};
const describe = (row) => `${row[ID]}: ${row[STATE]}, rank ${row[RANK] ?? "–"}, ${quantity(row[FLOPS])} flops, ${quantity(row[PARAMS])} params, ${quantity(row[ACTS])} acts; ${row[SHAPE]}`;
