"""Packages that bring blocks, as pip would install them."""


def bring(folder, module, text, entries):
    """Put a package of one file into a folder on the path.

    Args:
        folder: As site-packages.
        module: The package's name, and its file's.
        text: The file.
        entries: Name of each block to where it is found.

    Returns:
        The folder.
    """
    (folder / f"{module}.py").write_text(text)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    lines = [f"{name} = {place}\n" for name, place in entries.items()]
    (info / "entry_points.txt").write_text("[designspace.blocks]\n" + "".join(lines))
    return folder
