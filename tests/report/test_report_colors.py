"""Chromium computes visible, distinct colors for every curve, band, label and legend mark."""

import itertools
import re

import numpy as np
import pytest
from chromium_pipe import Page, find_chromium
from test_report_page import run

if find_chromium() is None:
    pytest.skip("no Chromium on this machine (apt-get install chromium)", allow_module_level=True)

FIGURES = ("edf", "edf_normalized", "best_of_k")  # those with marks; others are left out
# Each mark's population, what it is, and its color and opacity as the browser computes them.
MARKS = """(() => {
  const marks = [], computed = (element) => getComputedStyle(element);
  for (const figure of ["#fig-edf .wide", "#fig-edf_normalized", "#fig-best_of_k"])
    for (const group of document.querySelectorAll(`${figure} [data-population]`)) {
      const kind = group.getAttribute("class");
      if (kind === "label") continue;
      const shape = group.querySelector("path:not(defs path), use"), style = computed(shape);
      const paint = style.stroke === "none" ? style.fill : style.stroke;
      const width = kind === "band" ? 1 : shape.getBoundingClientRect().width;
      marks.push([figure, Number(group.dataset.population), kind, paint, width]);
    }
  for (const mark of document.querySelectorAll("main table:not(#models) .mark")) {
    const population = Number([...mark.classList].find((name) => /^p\\d+$/.test(name)).slice(1));
    const image = computed(mark).backgroundImage;
    marks.push(["tables", population, "mark", computed(mark).color, image.includes("rgb") ? 1 : 0]);
  }
  return [computed(document.body).backgroundColor, marks];
})()"""


@pytest.fixture(
    scope="module", params=[*(pytest.param(n, marks=pytest.mark.slow) for n in (2, 6, 8)), 12]
)
def report(request, tmp_path_factory):
    from designspace.analysis.findings import analyze
    from designspace.analysis.load_results import load_populations
    from designspace.report import write_report as module

    def with_marks(findings):
        return [figure for figure in report_figures(findings) if figure.key in FIGURES]

    home, report_figures = tmp_path_factory.mktemp("colors"), module.report_figures
    paths = [run(home / f"space_{i:02}", n=8, shift=2 * i) for i in range(request.param)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "report_figures", with_marks)
        findings = analyze(load_populations(paths))
        return request.param, module.write_report(findings, home / "out", figures=())


@pytest.mark.parametrize("dark", [False, True])
def test_every_mark_is_visible_and_distinct(report, tmp_path, dark):
    n, index = report
    page = Page(tmp_path / "browser", dark=dark)
    try:
        page.open(index)
        ground, marks = page.run(MARKS)
    finally:
        page.close()
    shown = {}
    for place, population, kind, paint, width in marks:
        assert width > 0, (place, kind, population)
        assert contrast(paint, ground) > 2.9, (place, kind, population, paint)
        shown.setdefault((place, kind), {}).setdefault(population, set()).add(rgb(paint))
    kinds = {kind for _, kind in shown}
    assert {"curve", "band", "leader", "mark"} <= kinds
    for where, colors in shown.items():
        assert set(colors) == set(range(n)), where
        assert all(len(one) == 1 for one in colors.values()), where
        for (_, a), (_, b) in itertools.combinations(colors.items(), 2):
            assert np.abs(np.subtract(min(a), min(b))).sum() > 40, (where, a, b)


def rgb(paint):
    """The red, green and blue of a computed color."""
    assert paint.startswith("rgb"), paint
    return tuple(float(number) for number in re.findall(r"[\d.]+", paint)[:3])


def contrast(first, second):
    """The contrast of two computed colors as WCAG defines it."""
    levels = []
    for paint in (first, second):
        c = np.array(rgb(paint)) / 255
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        levels.append(float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)
    return max(levels) / min(levels)
