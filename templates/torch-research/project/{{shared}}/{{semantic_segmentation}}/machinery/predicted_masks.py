"""Predicted masks as files: an indexed PNG for each image, in the size that the image has."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from machinery.files import write_atomically
from machinery.mask_report import IGNORED, class_colours


def to_original_size(mask: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Undo the scaling and cropping of an image for its mask.

    Args:
        mask: (height, width) uint8, of the size that the network sees.
        size: height and width of the image, in pixels.

    Returns:
        (*size) uint8, 255 at the edges that were cropped off
    """
    scale = min(size / mask.shape)
    inner = np.maximum(np.round(np.array(mask.shape) * scale).astype(int), 1)
    height, width = inner.tolist()
    scaled = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
    top, left = (size - inner) // 2
    whole = np.full(tuple(size), IGNORED, np.uint8)
    whole[top : top + height, left : left + width] = np.asarray(scaled)
    return whole


def encode_mask(mask: np.ndarray, classes: int) -> bytes:
    """Return a mask (height, width) uint8 as PNG: class numbers, which viewers show as colours."""
    palette = np.full((256, 3), 255, np.uint8)
    palette[:classes] = class_colours(classes)[:classes]
    image = Image.frombytes("P", mask.shape[::-1], np.ascontiguousarray(mask).tobytes())
    image.putpalette(palette.tobytes())
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def write_mask(path: Path, mask: np.ndarray, classes: int) -> None:
    """Write a mask (height, width) uint8 as PNG; see encode_mask."""
    write_atomically(path, encode_mask(mask, classes))
