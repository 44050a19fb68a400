"""The page about a pretraining in a browser: no complaint, no request, 400 pixels, dark."""

import pytest
from chromium_pipe import Page, find_chromium
from test_pretraining_page import findings

if find_chromium() is None:
    pytest.skip("no Chromium on this machine (apt-get install chromium)", allow_module_level=True)


@pytest.mark.parametrize(("width", "dark"), [(400, True), (1200, False)])
def test_nothing_overflows_logs_errors_or_loads_files(tmp_path, width, dark):
    from designspace.report.pretraining_page import write_pretraining_page

    index = write_pretraining_page(findings(), tmp_path / "out")
    page = Page(tmp_path / "browser", width=width, dark=dark)
    try:
        page.open(index)
        assert page.run("document.documentElement.scrollWidth") <= width
        wide = (
            "[...document.querySelectorAll('main *')].filter((e) => !e.closest('.scroll, svg') && "
            f"e.getBoundingClientRect().right > {width} + 1).map((e) => e.outerHTML.slice(0, 80))"
        )
        assert page.run(wide) == []
        assert page.run("[...document.images].every((i) => i.naturalWidth > 300)")
        ground = "getComputedStyle(document.body).backgroundColor"
        before = page.run(ground)
        assert (before == "rgb(20, 23, 26)") == dark
        for _ in range(1 if dark else 2):
            page.run("document.getElementById('theme').click()")
        assert page.run(ground) != before
        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith("data:")] == [index.as_uri()]
    finally:
        page.close()
