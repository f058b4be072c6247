"""Arrays in files that are mapped into memory, and that other processes map again.

On Windows and macOS a parent sends what it hands over to a new process through a pipe. Of a mapped
array this would be the whole content. With this file it is the place of the array on disk.
"""

import mmap
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np


def map_array(path: Path) -> np.ndarray:
    """Map a .npy file into memory. Changes stay in this process alone, and not in the file.

    Raises:
        OSError, ValueError, EOFError: it cannot be read, or is no such file.
    """
    return np.load(path, mmap_mode="c")  # Copy on write: PyTorch wants writable memory.


def _reduce(array: np.memmap) -> Any:
    """Return how another process makes an array: it maps the same file.

    A part of a mapped array, or what was computed from one, is copied like any other array.
    """
    if not isinstance(array.base, mmap.mmap) or array.filename is None:
        return np.array(array).__reduce__()
    order = "C" if array.flags.c_contiguous else "F"
    return np.memmap, (array.filename, array.dtype, array.mode, array.offset, array.shape, order)


ForkingPickler.register(np.memmap, _reduce)
