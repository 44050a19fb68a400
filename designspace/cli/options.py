"""Rules of options that several verbs share."""


def check_margin(margin: float) -> None:
    """Refuse what is no difference of errors that could count as none."""
    from designspace.errors import InputError

    if not 0 < margin <= 100:
        raise InputError(f"--margin is {margin:g}; it must be above 0 percent of error, up to 100")
