"""A picture as a request brings it: the bytes of a file, in any form that Pillow reads."""

import io
from typing import Any

import numpy as np
from PIL import Image

from machinery.errors import InputError
from machinery.image_files import Fit, crop, read_image, scan_image
from machinery.predictions import Unlabelled

# Pillow reads more kinds, of which some start other programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
LARGEST = 50_000_000  # pixels: few bytes can unpack to more than memory holds
_BYTES = {"schema": {"type": "string", "format": "binary"}}
CONTENT: dict[str, Any] = {
    name: _BYTES for name in ("image/png", "image/jpeg", "application/octet-stream")
}
FORM = {"kind": "file", "accept": "image/*"}


def read_picture(body: bytes, shape: tuple[int, int, int], fit: Fit = crop) -> Unlabelled:
    """Decode a picture as build_dataset.py does.

    Its "originals" are width and height of the file, (1, 2).

    Args:
        body: of the request: the file.
        shape: height, width, channels to bring it to.
        fit: brings it to the size.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS):
            scanned = scan_image(io.BytesIO(body))
    except Exception:  # Readers of damaged files raise errors of many types.
        raise InputError(
            f"the picture cannot be read: expected a file of {', '.join(FORMATS)}"
        ) from None
    size = scanned[:2] if scanned else (0, 0)
    if size[0] * size[1] > LARGEST:
        raise InputError(
            f"the picture: got {size[0]} x {size[1]} pixels, expected at most {LARGEST:,}"
        )
    pixels = np.zeros((1, *shape), np.uint8)
    try:
        problem = read_image(io.BytesIO(body), pixels[0], fit)
    except Exception as error:
        problem = str(error) or type(error).__name__
    if problem:
        raise InputError(f"the picture cannot be read: {problem}")
    return Unlabelled(np.array(["request"]), {"images": pixels}, np.array([size]))
