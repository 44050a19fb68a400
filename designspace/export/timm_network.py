"""What the Python module of an export to timm says about its network."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TimmNetwork:
    """The code of a network of one of timm's classes.

    Attributes:
        imports: Import lines of the class, and of what the code needs besides, in order.
        settings: Code above the entry point.
        arguments: Arguments of timm's `build_model_with_cfg` besides those that all networks have;
            the last ones are the `kwargs` of its entry point.
    """

    imports: str
    settings: str
    arguments: tuple[str, ...]


def settings_code(settings: dict[str, object]) -> str:
    """Return the code of a dictionary CFG, one line per entry."""
    entries = "".join(f'    "{key}": {value!r},\n' for key, value in settings.items())
    return f"CFG = {{\n{entries}}}".replace("'", '"')
