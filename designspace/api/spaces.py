"""Design spaces: the shipped ones by name, your own from a file or a dict."""

from designspace.space import Space, load_space, shipped_spaces

__all__ = ["Space", "list_spaces", "load_space"]


def list_spaces() -> list[Space]:
    """Return the shipped spaces, parents before children.

    Example:
        >>> import designspace as ds
        >>> [space.name for space in ds.list_spaces() if space.parent == "AnyNetXA"]
        ['AnyNetRA', 'AnyNetVA', 'AnyNetVRA', 'AnyNetXB', 'AnyNetZA']
    """
    return [load_space(name) for name in shipped_spaces()]
