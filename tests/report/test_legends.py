"""Legends of many populations: all names are inside the figure."""

import matplotlib.pyplot as plt
import pytest

from designspace.report import draw_on_axes as draw
from designspace.report.figure_files import ONE_COLUMN

NAMES = {
    "short": ["xa", "xb", "xc", "xd", "xe", "x", "y", "z", "w"],
    "long in the second column": [*"abcdefg", "depths-decreasing", *"ijkl", "anynetxe-5stages"],
    "long in both": ["anynetxe-4widths", *"abcdef", "depths-decreasing", "x"],
    "longest": ["a-name-of-26-characters-th" for _ in range(12)],
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize(("width", "size"), [(4.8, 8.5), (ONE_COLUMN, 7.0)])
def test_no_name_is_cut_off(names, width, size):
    labels = [f"[46.6 | 49.0] {name}" for name in names]
    columns = draw.legend_columns(labels, width, size)
    with plt.rc_context({"legend.fontsize": size, "legend.frameon": False}):
        figure, ax = plt.subplots(figsize=(width, 4.0))
        for label in labels:
            ax.plot([0, 1], label=label)
        draw.legend_below(ax, columns)
        box = ax.get_legend().get_window_extent(figure.canvas.get_renderer())
        plt.close(figure)
    assert box.x1 <= figure.bbox.x1
    assert columns == 2 or len(names) > 8
