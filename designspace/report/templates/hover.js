
/* Figures answer to the pointer: a curve lights up with its numbers, a dot shows its model. */
const tip = element("div", { className: "tip", hidden: true });
document.body.append(tip);
const showTip = (event, ...children) => {
  tip.replaceChildren(...children);
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = event.clientX + 18 + width > innerWidth ? event.clientX - 18 - width : event.clientX + 18;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${Math.max(8, Math.min(event.clientY + 18, innerHeight - height - 8))}px`;
};
const modelTip = (row) => [
  element("p", {}, element("strong", { textContent: `Model ${row[INDEX]}: ${row[ERROR].toFixed(2)} %` }), `, rank ${row[RANK]}, ${quantity(row[FLOPS])} flops`),
  ...(stages[row.place] ? [draw(row, 340)] : [element("p", { className: "note", textContent: row[SHAPE] })]),
];
const ranked = names.map(() => []), sampled = names.map(() => []);
for (const row of rows) if (row[RANK] !== null) { ranked[row[POP]][row[RANK] - 1] = row; sampled[row[POP]].push(row); }
for (const group of sampled) group.sort((a, b) => a[INDEX] - b[INDEX]);
const corners = (path) => [...path.getAttribute("d").matchAll(/([\d.-]+) ([\d.-]+)/g)].map((m) => [Number(m[1]), Number(m[2])]);
const inside = (svg, event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());

/* The chosen population stays lit; without one, that under the pointer is. */
let chosen = null;
const hero = document.querySelector("#fig-edf .hero");
const light = (population) => {
  const lit = population ?? chosen;
  hero?.classList.toggle("lit", lit !== null);
  for (const part of hero?.querySelectorAll("[data-population]") ?? [])
    part.classList.toggle("on", Number(part.dataset.population) === lit);
  for (const row of document.querySelectorAll("#populations tbody tr")) row.classList.toggle("on", row.sectionRowIndex === lit);
};
const choose = (population) => {
  chosen = chosen === population ? null : population;
  for (const button of document.querySelectorAll("button.choose")) button.setAttribute("aria-pressed", String(Number(button.dataset.population) === chosen));
  light(null);
};
/* A population's numbers; at an error, also the share of its models below, and the nearest of these. */
const curveTip = (population, error) => {
  const { n, min, mean, median } = curves[population];
  const models = ranked[population], below = error === null ? 1 : models.filter((row) => row[ERROR] < error).length;
  const share = error === null || models.length < n ? "" : `; ${(100 * below / n).toFixed(0)} % of ${n} models below ${error.toFixed(1)} %`;
  const nearest = models[Math.max(0, below - 1)];
  return [
    element("p", {}, element("span", { className: `mark p${population}` }), element("strong", { textContent: names[population] })),
    element("p", { textContent: `lowest ${min.toFixed(2)}, median ${median.toFixed(2)}, mean ${mean.toFixed(2)} %${share}` }),
    ...(nearest ? modelTip(nearest) : []),
  ];
};
for (const svg of hero?.querySelectorAll("svg") ?? []) {
  const all = [...svg.querySelectorAll(".curve")].map((group) => ({ population: Number(group.dataset.population), points: corners(group.querySelector("path")) }));
  /* Distance from a point to a staircase: to its nearest vertical or horizontal piece. */
  const distance = ({ points }, { x, y }) => points.slice(1).reduce((least, [x1, y1], i) => {
    const [x0, y0] = points[i];
    const dx = Math.max(Math.min(x0, x1) - x, 0, x - Math.max(x0, x1)), dy = Math.max(Math.min(y0, y1) - y, 0, y - Math.max(y0, y1));
    return Math.min(least, Math.hypot(dx, dy));
  }, Infinity);
  const nearest = (point) => all.map((curve) => [distance(curve, point), curve]).sort((a, b) => a[0] - b[0])[0];
  /* The population under the pointer and the error there, or none: a label, or a curve nearby. */
  const target = (event) => {
    const label = event.target.closest(".label, .leader");
    if (label) return [Number(label.dataset.population), null];
    const point = inside(svg, event), [far, { population, points }] = nearest(point);
    const [first, last] = [points[0][0], points.at(-1)[0]], { min, until } = curves[population];
    return far > 12 ? [null, null] : [population, min + (point.x - first) / (last - first) * (until - min)];
  };
  svg.addEventListener("pointermove", (event) => {
    const [population, error] = target(event);
    light(population);
    if (population === null) tip.hidden = true; else showTip(event, ...curveTip(population, error));
  });
  svg.addEventListener("pointerleave", () => { light(null); tip.hidden = true; });
  svg.addEventListener("click", (event) => choose(target(event)[0]));
}
for (const button of document.querySelectorAll("button.choose")) {
  const population = Number(button.dataset.population), row = button.closest("tr") ?? button;
  button.addEventListener("click", () => choose(population));
  row.addEventListener("pointerenter", () => light(population));
  row.addEventListener("pointerleave", () => light(null));
}
for (const group of document.querySelectorAll(".dots")) {
  const svg = group.ownerSVGElement, models = sampled[Number(group.dataset.population)];
  const points = corners(group.querySelector("path")).filter((_, i) => i % 2 === 0);
  if (points.length !== models.length) continue;  /* the table lacks some of them */
  svg.addEventListener("pointermove", (event) => {
    const { x, y } = inside(svg, event);
    const [far, place] = points.map(([px, py], i) => [Math.hypot(px - x, py - y), i]).sort((a, b) => a[0] - b[0])[0];
    if (far > 6) tip.hidden = true; else showTip(event, ...modelTip(models[place]));
  });
  svg.addEventListener("pointerleave", () => { tip.hidden = true; });
}
