"""Shorten matplotlib's SVG, and cut it into the panels of a page."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from designspace.report.palette import css_variables

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_DECIMALS = re.compile(r"(\d\.\d\d)\d+")
_REFERENCE = re.compile(r"(?:^|\()#([^)]+)")
# Groups that the page's script and tests address, as drawings name them: `curve-3`, `panel-0`.
_NAMED = re.compile(r"(curve|band|dots|label|leader|panel)-(\d+)")
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _XLINK)


def shortened(svg: str) -> Element:
    """Parse matplotlib's SVG; drop identifiers without a reference, whitespace and decimals.

    Groups named like `curve-3` get the class `curve` and `data-population="3"` instead.
    """
    root = ElementTree.fromstring(svg)
    attributes = [value for element in root.iter() for value in element.attrib.values()]
    used = {match[1] for value in attributes if (match := _REFERENCE.search(value))}
    for element in root.iter():
        element.tail = None
        if not (element.text or "").strip():
            element.text = None
        if (name := element.get("id")) is not None and name not in used:
            del element.attrib["id"]
            if match := _NAMED.fullmatch(name):
                element.attrib |= {"class": match[1], "data-population": match[2]}
        if element.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]
        for key in {"d", "x", "y", "width", "height", "style", "transform"} & {*element.attrib}:
            element.attrib[key] = _DECIMALS.sub(r"\1", element.attrib[key]).replace(" \n", "")
    return root


def panels(root: Element, boxes: Sequence[str], alts: Sequence[str]) -> list[str]:
    """Cut a shortened figure into one SVG a panel, in the page's colours and font.

    Args:
        root: A figure whose axes are named `panel-0`, `panel-1`, …; it is changed in place.
        boxes: viewBox of each panel.
        alts: Alternative text of each.
    """
    _adapt(root)
    groups = {
        group.attrib.pop("data-population"): group
        for group in root.iter(f"{{{_SVG}}}g")
        if group.get("class") == "panel"
    }
    clips = {clip.get("id"): clip for clip in root.iter(f"{{{_SVG}}}clipPath")}
    result = []
    for number, (box, alt) in enumerate(zip(boxes, alts, strict=True)):
        group = groups[str(number)]
        svg = Element(f"{{{_SVG}}}svg", {"viewBox": box, "role": "img", "aria-label": alt})
        ElementTree.SubElement(svg, f"{{{_SVG}}}title").text = alt
        svg.append(group)
        values = (element.get("clip-path", "") for element in group.iter())
        for name in sorted({match[1] for value in values if (match := _REFERENCE.search(value))}):
            svg.append(clips[name])
        result.append(to_text(svg))
    return result


def to_text(root: Element) -> str:
    """Return an element as text."""
    return ElementTree.tostring(root, encoding="unicode")


def _adapt(root: Element) -> None:
    variables = css_variables()
    colors = re.compile("|".join(variables))
    for element in root.iter():
        if style := element.get("style"):
            style = re.sub(r"font-family: [^;]*; ", "", style)
            element.attrib["style"] = colors.sub(lambda match: variables[match[0]], style)
