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

const compare = (a, b) => {
  const [x, y] = [a[order.column], b[order.column]];
  if (x === y) return a[POP] - b[POP] || a[INDEX] - b[INDEX];
  if (x === null) return 1;
  if (y === null) return -1;
  const sign = typeof x === "string" ? x.localeCompare(y) : x - y;
  return order.down ? -sign : sign;
};
const matching = () => {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  return rows.filter((row) =>
    (population.value === "" || row[POP] === Number(population.value)) &&
    (state.value === "" || row[STATE] === state.value) &&
    words.every((word) => `${row[ID]} ${row[INDEX]} ${names[row[POP]]} ${row[SHAPE]}`.toLowerCase().includes(word)));
};

const open = (row, line, toggle) => {
  const opened = line.classList.toggle("open");
  toggle.setAttribute("aria-expanded", String(opened));
  if (!opened) { line.nextSibling.remove(); return; }
  const note = element("p", { className: "note", textContent: describe(row) });
  const across = Math.max(320, Math.min(680, body.clientWidth - 20));
  const cell = element("td", { colSpan: heads.length, className: "network" }, draw(row, across), note);
  line.after(element("tr", { className: "drawn" }, cell));
};
const tableRow = (row) => {
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
  const shown = matching().sort(compare);
  page = Math.min(page, Math.max(0, Math.ceil(shown.length / PAGE) - 1));
  const start = page * PAGE;
  body.replaceChildren(...shown.slice(start, start + PAGE).map(tableRow));
  status.textContent = shown.length ? `${start + 1}–${Math.min(start + PAGE, shown.length)} of ${shown.length}` : "no model matches";
  previous.disabled = page === 0;
  next.disabled = start + PAGE >= shown.length;
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
