"""From matplotlib's SVG to one for a page: small, in the page's colours, with alt text."""

import re
from dataclasses import dataclass
from html import escape

from designspace.report.palette import COLORS, FAINT, INK

DOTS = "dots"
_USE = re.compile(r'<use xlink:href="#[^"]+" x="([^"]+)" y="([^"]+)" style="([^"]*)"/>')
_TAG = re.compile(r"<[^>]*>")
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_FONT = re.compile(r"font: (?:(\d+|bold) )?([\d.]+)px [^;\"]*")
_XLINK = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


@dataclass(frozen=True)
class Picture:
    """One drawing: the inside of its SVG, compact, with identifiers of its own, and its size."""

    body: str
    width: float
    height: float


def picture(svg: str, key: str) -> Picture:
    """Tidy what matplotlib wrote.

    Args:
        svg: The whole SVG text.
        key: Prefix of its identifiers, unique in the page: letters, digits, `-` and `_`.
    """
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(rf'<g id="{DOTS}-([\d.]+)">(.*?)</g>\s*</g>', _dots, svg, flags=re.DOTALL)
    svg = re.sub(r">\s+<", "><", svg)
    head, body = svg[svg.index("<svg") :].split(">", 1)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head)
    assert box is not None
    body = body[: body.rindex("</svg>")]
    used = set(re.findall(r'"#([^"]+)"', body)) | set(re.findall(r"url\(#([^)]+)\)", body))

    def tidy(tag: str) -> str:
        tag = _FONT.sub(_font, _NUMBER.sub(_rounded, tag))
        tag = re.sub(r' id="([^"]+)"', lambda m: f' id="{key}-{m[1]}"' if m[1] in used else "", tag)
        tag = re.sub(r'"#([^"]+)"', rf'"#{key}-\1"', tag)
        return re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", tag)

    # Within tags only: numbers and names in the text stand as they are.
    return Picture(_TAG.sub(lambda m: tidy(m[0]), body), float(box[1]), float(box[2]))


def inline_svg(drawn: Picture, alt: str) -> str:
    """Return the SVG for a page: no fixed size, the page's ink, alt text."""
    names = {INK: "var(--ink)", FAINT: "var(--faint)"}
    names |= {value.lower(): f"var(--c{number})" for number, value in enumerate(COLORS)}
    colors = re.compile("|".join(names))
    body = _TAG.sub(lambda m: colors.sub(lambda found: names[found[0]], m[0]), drawn.body)
    words = escape(alt)
    return (
        f'<svg viewBox="0 0 {drawn.width:g} {drawn.height:g}" role="img" aria-label="{words}">'
        f"<title>{words}</title>{body}</svg>"
    )


def sheet_svg(drawn: list[Picture], columns: int) -> str:
    """Return a file of its own with the pictures, all of one size, in rows, on white."""
    width, height = drawn[0].width, drawn[0].height
    rows = -(-len(drawn) // columns)
    cells = "".join(
        f'<svg x="{width * (i % columns):g}" y="{height * (i // columns):g}" '
        f'width="{width:g}" height="{height:g}">{one.body}</svg>'
        for i, one in enumerate(drawn)
    )
    whole = f"{width * columns:g} {height * rows:g}"
    across, down = whole.split()
    return (
        f'<svg {_XLINK} width="{across}pt" height="{down}pt" viewBox="0 0 {whole}" '
        'font-family="DejaVu Sans, Verdana, sans-serif">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{cells}</svg>\n'
    )


def _rounded(match: "re.Match[str]") -> str:
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".")


def _font(match: "re.Match[str]") -> str:
    """Leave the family to the page."""
    weight = f"; font-weight: {match[1]}" if match[1] else ""
    return f"font-size: {match[2]}px{weight}"


def _dots(match: "re.Match[str]") -> str:
    """Draw equal round markers as zero-length strokes with round caps: a tenth of the bytes."""
    points = _USE.findall(match[2])
    if not points:
        return ""
    style = points[0][2]
    fill = re.search(r"fill: (#\w+)", style)
    opacity = re.search(r"fill-opacity: ([\d.]+)", style)
    path = "".join(f"M{float(x):.1f} {float(y):.1f}h0" for x, y, _ in points)
    clip = re.search(r'clip-path="[^"]+"', match[2])
    look = (
        f"stroke: {fill[1] if fill else INK}; stroke-width: {match[1]}; "
        f"stroke-opacity: {opacity[1] if opacity else 1}; stroke-linecap: round; fill: none"
    )
    return f'<g {clip[0] if clip else ""}><path d="{path}" style="{look}"/></g>'
