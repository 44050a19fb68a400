"""Legends of many populations: all names are inside the figure."""

import matplotlib.pyplot as plt
import pytest

from designspace.report import draw_on_axes as draw
from designspace.report.figure_files import ONE_COLUMN
from designspace.report.palette import AXES_LEFT

# Names, and the columns of a legend in a report's figure and in one column of a paper.
NAMES = {
    "short": (["xa", "xb", "xc", "xd", "xe", "x", "y", "z", "w"], (2, 2)),
    "long in one column": ([*"abcdefg", "depths-decreasing", *"ijkl", "stages"], (2, 2)),
    "long in both": (["anynetxe-4widths", *"abcdef", "depths-decreasing", "x"], (1, 1)),
    "just too long in both": (["momentum-warm"] * 10, (1, 1)),
    "short enough in both": (["anynetxe"] * 10, (2, 2)),
    "longest": (["a-name-of-26-characters-th"] * 12, (1, 1)),
}


@pytest.mark.parametrize(("names", "expected"), NAMES.values(), ids=NAMES)
@pytest.mark.parametrize(("width", "size", "left"), [(4.8, 8.5, AXES_LEFT), (ONE_COLUMN, 7.0, 0.5)])
def test_no_name_is_cut_off(names, expected, width, size, left):
    labels = [f"[46.6 | 49.0] {name}" for name in names]
    columns = draw.legend_columns(labels, width, size, left)
    with plt.rc_context({"legend.fontsize": size, "legend.frameon": False}):
        figure, ax = plt.subplots(figsize=(width, 4.0))
        figure.subplots_adjust(left=left / width)
        for label in labels:
            ax.plot([0, 1], label=label)
        draw.legend_below(ax, columns)
        box = ax.get_legend().get_window_extent(figure.canvas.get_renderer())
        plt.close(figure)
    assert columns == expected[width == ONE_COLUMN]
    assert box.x1 <= figure.bbox.x1 or columns == 1
