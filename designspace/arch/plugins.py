"""Python files with blocks of one's own, which run only when a person names them."""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from designspace.arch.blocks import Block, register_block, registered_block
from designspace.errors import InputError
from designspace.io.text_files import read_text


@dataclass(frozen=True)
class PluginFile:
    """A plugin with its text, for workers that can't import it or don't have the file.

    Attributes:
        path: Of the file.
        text: Its content.
    """

    path: str
    text: str


_loaded: dict[PluginFile, tuple[Block, ...]] = {}


def load_plugin(path: Path | str) -> tuple[Block, ...]:
    """Execute a Python file, once in this process, and register the Blocks among its globals.

    Returns:
        The blocks of the file.

    Raises:
        InputError: The file can't be read, fails, or defines no Block.

    Example:
        >>> import designspace as ds
        >>> try:
        ...     ds.load_plugin("missing.py")
        ... except ds.InputError as error:
        ...     print("missing.py" in str(error))
        True
    """
    place = Path(path).resolve()
    earlier = next((file for file in _loaded if file.path == str(place)), None)
    if earlier is not None:
        return _register(_loaded[earlier])
    if place.suffix != ".py":
        raise InputError(f"plugin {path}: not a Python file (.py)")
    return _execute(PluginFile(str(place), read_text(place, "plugin")), f"plugin {path}")


def block_for_workers(name: str) -> PluginFile | Block | None:
    """Return what a worker needs to have a block: its plugin, the block, or None if it ships."""
    block = registered_block(name)
    return next((file for file, blocks in _loaded.items() if block in blocks), block)


def provide_block(block: PluginFile | Block) -> None:
    """In a worker: register the block that came with a task."""
    if isinstance(block, Block):
        register_block(block)
    elif block in _loaded:
        _register(_loaded[block])  # another version of the file may have come since
    else:
        _execute(block, f"plugin {block.path}")


def _execute(file: PluginFile, what: str) -> tuple[Block, ...]:
    name = f"designspace_plugin_{Path(file.path).stem}"
    module = ModuleType(name)
    module.__file__ = file.path
    sys.modules[name] = module  # dataclasses look the module up
    try:
        exec(compile(file.text, file.path, "exec"), vars(module))
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    except (Exception, SystemExit) as error:  # the user's code may fail in any way
        raise InputError(f"{what} failed: {type(error).__name__}: {error}") from error
    blocks = tuple(value for value in vars(module).values() if isinstance(value, Block))
    if not blocks:
        raise InputError(f"{what} defines no designspace Block")
    _loaded[file] = _register(blocks)
    return blocks


def _register(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    for block in blocks:
        register_block(block)
    return blocks
