"""Pickling Pillow's images for the wire: the pixels travel beside the pickle.

Pillow's own way packs the pixels into bytes, copies these into the pickle, and unpacks
them on the other side. Where Pillow exports its memory in Arrow's form, the pixels go
as they stand there, and an image is made around the memory that they arrive in.
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
    pixels, packed = _pixels(image)
    kept = (image.info, image.mode, image.size, image.getpalette())
    state = (*kept, packed, pickle.PickleBuffer(pixels))
    return _new_image, (), state, None, None, _fill_image


def _pixels(image):
    """The pixels as they stand in memory or packed, and whether they are packed."""
    import PIL
    from PIL import Image

    # Before this version, exporting an image that borrows its memory ends the process.
    exports = int(PIL.__version__.partition(".")[0]) >= 13
    # Pillow maps any mode but this one, whose pixels it expects to be packed.
    if exports and image.mode != "1" and hasattr(Image.core, "map_buffer"):
        try:
            return _C.arrow_bytes_of(*image.__arrow_c_array__()), False
        except ValueError:
            pass  # Large images stand in several pieces.
    return image.tobytes(), True


def _new_image():
    from PIL import Image

    return Image.Image()


def _fill_image(image, state):
    """Sets a new image to what `reduce_image` gave."""
    from PIL import Image

    info, mode, size, palette, packed, pixels = state
    if packed:
        image.__setstate__([info, mode, size, palette, pixels])
        return
    # The image has its pixels in the very memory that was received, as one that Pillow
    # maps from a file. Pillow copies them before it writes to one that is read-only.
    memory = memoryview(pixels)
    layout = (mode, memory.nbytes // size[1], 1)
    core = Image.core.map_buffer(pixels, size, "raw", 0, layout)
    vars(image).update(vars(Image.Image()._new(core)))
    image.readonly = 1 if memory.readonly else 0
    image.info = info
    if palette and mode in ("L", "LA", "P", "PA"):
        image.putpalette(palette)
