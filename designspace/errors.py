"""What a person can mend: the one error that the command line turns into a message and exit 2."""


class InputError(ValueError):
    """Something that a person handed in is wrong.

    The message says what was wrong, where, and what would be right; it is shown as it stands, with
    no traceback. Mistakes of our own are never an `InputError`.
    """


def nearest(word: str, known: list[str], most: int = 3) -> str:
    """Return `did you mean A, B?` or the list of all known names, for an error message."""
    import difflib

    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(folded), n=most, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(folded[name] for name in close)}?"
    return f"known: {', '.join(known)}"


def printable(text: str) -> str:
    """Return a text on one line, with what can't be seen written as escapes: names may hold line
    ends, and marks that recolour a terminal or turn its writing around.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, most: int = 80) -> str:
    """Return a text, or its beginning and three dots where it is longer than a line of a message
    should be.
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."
