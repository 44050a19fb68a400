"""Names in bitmaps: fonts that have their characters, or codes for characters that no font has.

What stands in an SVG is drawn by the fonts of whoever looks at it; a PNG is drawn here and now, by
the fonts of this machine.
"""

from functools import cache

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from designspace.report.palette import FAMILY

# Families of other scripts, as systems ship them; those that this machine lacks are passed over.
_FALLBACKS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans JP",
    "Noto Sans SC",
    "Noto Sans KR",
    "Source Han Sans",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "IPAGothic",
    "Droid Sans Fallback",
    "Hiragino Sans",
    "PingFang SC",
    "Apple SD Gothic Neo",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Arial Unicode MS",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Emoji",
    "Segoe UI Emoji",
    "Symbola",
    "Unifont",
)
# Of neighbours that no font has, so many stand as codes, and three dots for the others.
_CODES = 4


def make_legible(figure: Figure) -> bool:
    """Give each text of a figure fonts that have its characters; the rest become codes.

    Returns:
        Whether any character became a code.
    """
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    named = [
        axis for axis in axes if any(lacking(tick.get_text()) for tick in axis.get_ticklabels())
    ]
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    spelled = [_spell(text) for text in texts]
    for axis in named:
        _spell_ticks(axis)
    return any(spelled)


def lacking(words: str) -> str:
    """Return the characters that our own family lacks."""
    return "".join(sorted({c for c in words if not (c.isascii() or _has(FAMILY, c))}))


def _spell(text: Text) -> bool:
    words = text.get_text()
    families, without = _fonts(words)
    if families:
        text.set_fontfamily([FAMILY, *families])
    if without:
        text.set_text(_coded(words, without))
    return bool(without)


def _spell_ticks(axis: Axis) -> None:
    """Labels of ticks are written anew at each drawing, by their formatter."""
    before = axis.get_major_formatter()
    if isinstance(before, FuncFormatter):

        def after(value: float, place: int | None = None) -> str:
            words = before(value, place)
            return _coded(words, _fonts(words)[1])

        axis.set_major_formatter(FuncFormatter(after))


def _fonts(words: str) -> tuple[list[str], str]:
    """Return the families that the words need beside our own, and the characters that none has."""
    left, families = lacking(words), []
    for family in installed() if left else ():
        rest = "".join(c for c in left if not _has(family, c))
        if rest != left:
            families.append(family)
            left = rest
    return families, left


def _coded(words: str, without: str) -> str:
    """Write each character of `without` as its code, as Python does: U+65E5 is \\u65e5."""
    made, codes = "", 0
    for character in words:
        codes = codes + 1 if character in without else 0
        if not codes:
            made += character
        elif codes <= _CODES:
            made += character.encode("ascii", "backslashreplace").decode()
        elif codes == _CODES + 1:
            made += "…"
    return made


@cache
def installed() -> tuple[str, ...]:
    """Return the families of other scripts that this machine has."""
    known = {font.name for font in fontManager.ttflist}
    return tuple(family for family in _FALLBACKS if family in known)


@cache
def _has(family: str, character: str) -> bool:
    return get_font(findfont(family)).get_char_index(ord(character)) != 0
