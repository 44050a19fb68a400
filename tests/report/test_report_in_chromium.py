"""The report in a browser: no complaint, no request, sorting, drawing, keys, 400 pixels, dark."""

import pytest
from chromium_pipe import Page, find_chromium
from test_report_page import run

if find_chromium() is None:
    pytest.skip("no Chromium on this machine (apt-get install chromium)", allow_module_level=True)

COLUMN = "[...document.querySelectorAll('#models tbody tr')].map((r) => r.cells[{}].textContent)"

CLICK = "document.querySelector(`{}`).dispatchEvent(new MouseEvent('click', {{bubbles: true}}))"

FIRST_DOT = """(() => {
  const group = document.querySelector("#fig-bootstrap_a .dots");
  const numbers = group.querySelector("path").getAttribute("d").match(/[\\d.]+/g);
  const dot = new DOMPoint(Number(numbers[0]), Number(numbers[1]));
  const at = dot.matrixTransform(group.ownerSVGElement.getScreenCTM());
  return [at.x, at.y];
})()"""


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    from designspace.analysis.findings import analyze
    from designspace.analysis.load_results import load_populations
    from designspace.report.write_report import write_report

    home = tmp_path_factory.mktemp("browser")
    a = run(home / "a", n=30, states={3: "diverged", 4: "failed"})
    name = "a long <b>name</b> of a run, as people give them to say how and when it was trained"
    b = run(home / name, "RegNetX@8", n=30, shift=-2)
    return write_report(analyze(load_populations([a, b])), home / "out")


@pytest.fixture
def browse(tmp_path):
    pages = []

    def opened(index, **options):
        pages.append(Page(tmp_path / str(len(pages)), **options))
        pages[-1].open(index)
        return pages[-1]

    yield opened
    for page in pages:
        page.close()


def test_sorting_finding_drawing_without_complaint_or_request(index, browse):
    page = browse(index)
    errors = [float(text) for text in page.run(COLUMN.format(2))]
    assert errors == sorted(errors)
    assert len(errors) == 25
    page.run("document.querySelector('#models th[data-column=\"5\"] button').click()")
    assert page.run(COLUMN.format(2))[0] == "90.00"
    assert page.run("document.querySelector('#models th[data-column=\"5\"]').ariaSort") == (
        "descending"
    )
    page.run("document.querySelector('#models th[data-column=\"1\"] button').click()")
    page.run("document.getElementById('next').click()")
    assert page.run("document.getElementById('shown').textContent") == "26–50 of 60"
    page.run("document.getElementById('state').value = 'failed'")
    page.run("document.getElementById('state').dispatchEvent(new Event('change'))")
    assert page.run(COLUMN.format(0)) == ["4"]
    page.run("document.querySelector('#models tbody tr').click()")
    assert page.run("document.querySelectorAll('.network rect').length") > 3
    assert page.run("document.querySelector('.network svg').getAttribute('aria-label')").startswith(
        "stage 1: "
    )
    assert ": failed, rank –, " in page.run("document.querySelector('.network p').textContent")
    for words, shown in [("give 7", "1–"), ("no such model", "no model matches")]:
        page.run("document.getElementById('state').value = ''")
        page.run(f"document.getElementById('find').value = '{words}'")
        page.run("document.getElementById('find').dispatchEvent(new Event('input'))")
        assert page.run("document.getElementById('shown').textContent").startswith(shown)
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith("data:")] == [index.as_uri()]


def test_curves_and_dots_answer_to_the_pointer(index, browse):
    page = browse(index)

    def scroll_to(selector):
        options = "{behavior: 'instant', block: 'center'}"
        page.run(f"document.querySelector(`{selector}`).scrollIntoView({options})")

    def point(selector, across, down):
        scroll_to(selector)
        x, y, width, height = page.run(
            f"(({{x, y, width, height}}) => [x, y, width, height])"
            f"(document.querySelector(`{selector}`).getBoundingClientRect())"
        )
        at = {"x": x + across * width, "y": y + down * height}
        page.call("Input.dispatchMouseEvent", type="mouseMoved", **at)

    lit = "document.querySelectorAll('.hero .wide .curve.on').length"
    point(".hero .wide .curve[data-population='1'] path", 0.001, 0.995)
    assert page.run(lit) == 1
    tip = page.run("document.querySelector('.tip').textContent")
    assert tip.startswith("b> of a run, as people give them")
    assert "models below" in tip
    assert page.run("document.querySelectorAll('.tip svg rect').length") > 3
    point("#fig-edf figcaption", 0.5, 0.5)
    assert page.run(lit) == 0
    assert page.run("document.querySelector('.tip').hidden")
    # Chosen by its button, it stays lit.
    page.run("document.querySelector('#populations button.choose').focus()")
    page.press("Enter", 13)
    assert page.run(lit) == 1
    page.press("Enter", 13)
    assert page.run(lit) == 0
    # So does a curve that was clicked; a label shows the numbers of its curve.
    point(".hero .wide .label[data-population='0']", 0.5, 0.5)
    tip = page.run("document.querySelector('.tip').textContent")
    assert tip.startswith("alowest ")
    assert "models below" not in tip
    page.run(CLICK.format(".hero .wide .label[data-population='0']"))
    point("#fig-edf figcaption", 0.5, 0.5)
    assert page.run(lit) == 1
    page.run("document.querySelector('#fig-bootstrap_a').closest('details').open = true")
    scroll_to("#fig-bootstrap_a .dots")
    x, y = page.run(FIRST_DOT)
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert page.run("document.querySelector('.tip').textContent").startswith("Model ")
    assert page.complaints == []


def test_a_run_of_failed_models_has_a_page_with_its_reasons(tmp_path, browse):
    from designspace.analysis.findings import analyze
    from designspace.analysis.load_results import load_populations
    from designspace.report.write_report import write_report

    failed = run(tmp_path / "failed", n=8, states=dict.fromkeys(range(8), "failed"))
    page = browse(write_report(analyze(load_populations([failed])), tmp_path / "out"))
    text = page.run("document.body.innerText")
    assert "No model has an error" in text
    assert "failed: 8 failed: why." in text
    cells = "[...document.querySelectorAll('main td')].map((cell) => cell.textContent)"
    assert page.run(cells)[:5] == ["failed", "8", "0", "0", "8"]
    assert page.run("document.querySelectorAll('nav a').length") == 2
    assert page.complaints == []


def test_it_can_be_used_from_the_keyboard(index, browse):
    page = browse(index)
    page.press("Tab", 9)
    assert page.run("document.activeElement.className") == "skip"
    page.run("document.querySelector('#models td button').focus()")
    page.press("Enter", 13)
    assert page.run("document.querySelectorAll('.network svg').length") == 1
    page.press("Enter", 13)
    assert page.run("document.querySelectorAll('.network svg').length") == 0


@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_overflows(index, browse, width):
    page = browse(index, width=width)
    page.run("for (const part of document.querySelectorAll('details')) part.open = true")
    page.run("document.querySelector('#models td button').click()")
    assert page.run("document.documentElement.scrollWidth") <= width
    wide = (
        "[...document.querySelectorAll('main *')].filter((e) => !e.closest('.scroll, svg') && "
        f"e.getBoundingClientRect().right > {width} + 1).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert page.run(wide) == []


def test_dark_follows_the_system_and_the_button(index, browse):
    page = browse(index, dark=True)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.run(ground)
    assert dark == "rgb(20, 23, 26)"
    page.run("document.getElementById('theme').click()")
    assert page.run("document.getElementById('theme').textContent") == "Theme: light"
    assert page.run(ground) != dark
