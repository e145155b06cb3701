"""Pickling Pillow's images for the wire: the pixels travel beside the pickle.

Pillow's own way packs the pixels into bytes, copies these into the pickle, and unpacks
them on the other side. Where Pillow exports its memory in Arrow's form, the pixels go
as they stand there, and an image is made of them at the speed of a copy.
"""

import pickle

from pyaccel import _C

# Images that have fewer bytes are quicker in Pillow's own way.
_SMALL = 16 << 10


def reduce_image(image):
    """What an image is rebuilt from: what Pillow pickles, with the pixels as a buffer.

    For `PIL.Image.Image` itself, not for the classes of opened files.
    """
    if image.width * image.height < _SMALL:
        return image.__reduce_ex__(5)
    pixels, format = _pixels(image)
    kept = (image.info, image.mode, image.size, image.getpalette())
    state = (*kept, format, pickle.PickleBuffer(pixels))
    return _new_image, (), state, None, None, _fill_image


def _pixels(image):
    """The pixels and the letter of Arrow that says how they stand, None if packed."""
    export = getattr(image, "__arrow_c_array__", None)
    if export is not None:
        try:
            pixels = _C.arrow_bytes_of(*export())
        except ValueError:
            pass  # Large images stand in several pieces.
        else:
            return pixels, pixels.format
    return image.tobytes(), None


def _new_image():
    from PIL import Image

    return Image.Image()


def _fill_image(image, state):
    """Sets a new image to what `reduce_image` gave."""
    from PIL import Image

    info, mode, size, palette, format, pixels = state
    if format is None:
        image.__setstate__([info, mode, size, palette, pixels])
        return
    shared = Image.fromarrow(_C.arrow_bytes(format, pixels), mode, size)
    # Pillow does not write to memory of others: read-only pixels may stay where they
    # are, and an image that can be written to has its own.
    made = shared if memoryview(pixels).readonly else shared.copy()
    vars(image).update(vars(made))
    image.info = info
    if palette and mode in ("L", "LA", "P", "PA"):
        image.putpalette(palette)
