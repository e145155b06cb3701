"""Images of Pillow in objects: every mode, as Pillow's own pickling gives them."""

import pickle
import sys

import numpy as np
import PIL
import pytest
from PIL import Image

from pyaccel import _C, PartialState, _objects
from pyaccel.utils.operations import broadcast_object_list, gather_object
from tests.harness import here

MODES = (
    *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK"),
    *("YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16L", "I;16B"),
)
# In the pickle; as it stands in memory; and where that is in several pieces.
SIZES = ((3, 2), (0, 5), (301, 257), (2900, 1500))


def noise(mode, size, rank):
    image = Image.new(mode, size)
    count = len(image.tobytes())
    image.frombytes(np.random.default_rng(rank).bytes(count))
    if mode in ("P", "PA"):
        image.putpalette([*range(255), *[rank] * 300])
    image.info["note"] = ["of rank", rank]
    return image


def check_image(got, sent):
    """That it is what Pillow's pickling makes of what was sent, and writable."""
    expected = pickle.loads(pickle.dumps(sent, 5))
    assert type(got) is type(expected)
    assert (got.mode, got.size, got.info) == (
        expected.mode,
        expected.size,
        expected.info,
    )
    assert got.getpalette() == expected.getpalette()
    assert got.tobytes() == expected.tobytes() == sent.tobytes()
    assert vars(got).keys() == vars(expected).keys()
    assert not got.readonly
    if got.width and got.height:
        got.load()[0, 0] = got.getpixel((0, 0))


def gather_modes(size):
    PartialState()
    own = [noise(mode, size, here.rank) for mode in MODES]
    got = gather_object(own)
    sent = [noise(mode, size, rank) for rank in range(here.size) for mode in MODES]
    assert len(got) == len(sent)
    for image, expected in zip(got, sent, strict=True):
        check_image(image, expected)


@pytest.mark.parametrize("size", SIZES[:3])
def test_every_mode(backend, size):
    backend.run(gather_modes, size, size=2)


def gather_large():
    PartialState()
    own = [noise(mode, SIZES[3], here.rank) for mode in ("RGB", "F", "P")]
    for index, image in enumerate(gather_object(own)):
        mode = ("RGB", "F", "P")[index % 3]
        check_image(image, noise(mode, SIZES[3], index // 3))
    told = [noise("RGBA", SIZES[3], 7) if here.rank == 0 else None]
    broadcast_object_list(told)
    check_image(told[0], noise("RGBA", SIZES[3], 7))


def test_large_images(shm):
    shm.run(gather_large, size=2)


def gather_without_export(told):
    PartialState()
    version, PIL.__version__ = PIL.__version__, told
    export = Image.Image.__arrow_c_array__
    del Image.Image.__arrow_c_array__
    try:
        gather_modes((301, 257))
    finally:
        PIL.__version__ = version
        Image.Image.__arrow_c_array__ = export


def test_a_pillow_whose_export_is_not_safe(shm):
    shm.run(gather_without_export, "12.3.0", size=2)


def gather_borrowed():
    PartialState()
    pixels = np.full((200, 200, 4), here.rank, np.uint8)
    own = [Image.fromarray(pixels), Image.fromarray(pixels[..., 0])]
    again = gather_object(gather_object(own))
    assert len(again) == 2 * here.size * here.size
    for index, image in enumerate(again):
        rank = index // 2 % here.size
        assert set(image.tobytes()) == {rank}
        image.paste(7, (0, 0, 200, 200))
    assert set(pixels.ravel()) == {here.rank}
    assert set(own[1].tobytes()) == {here.rank}


def test_images_over_memory_of_others(backend):
    backend.run(gather_borrowed, size=2)


def test_pixels_travel_beside_the_pickle():
    for image, nbytes in (
        (noise("RGB", (301, 257), 0), 301 * 257 * 4),
        (noise("I;16", (301, 257), 0), 301 * 257 * 2),
        (noise("1", (301, 257), 0), 38 * 257),
        (noise("RGB", SIZES[3], 0), 2900 * 1500 * 3),
    ):
        buffers = []
        assert len(_objects.dumps(image, buffers)) < 4096
        assert [memoryview(buffer).nbytes for buffer in buffers] == [nbytes]


def test_capsules_that_hold_no_flat_array():
    schema, array = noise("L", (20, 30), 0).__arrow_c_array__()
    assert memoryview(_C.arrow_bytes_of(schema, array)).nbytes == 600
    with pytest.raises(ValueError, match="PyCapsule"):
        _C.arrow_bytes_of(array, schema)
    with pytest.raises(TypeError):
        _C.arrow_bytes_of(schema)


class Picture(Image.Image):
    """An image with more to it, which Pillow pickles without."""


def gather_others(path):
    PartialState()
    if here.rank == 0:
        noise("RGB", (200, 200), 3).save(path)
    here.meet("saved")
    opened = Image.open(path)
    picture = Picture()
    vars(picture).update(vars(noise("L", (200, 200), here.rank)))
    looped = noise("RGB", (200, 200), here.rank)
    looped.info["itself"] = looped
    for got in gather_object([(opened, picture, looped, looped)]):
        assert type(got[0]) is type(opened)
        assert got[0].tobytes() == opened.tobytes()
        assert type(got[1]) is Picture
        assert got[2] is got[3]
        assert got[2].info["itself"] is got[2]


def test_opened_files_classes_and_repeats(backend, tmp_path):
    backend.run(gather_others, str(tmp_path / "image.png"), size=2)


def gather_unpicklable():
    PartialState()
    image = noise("RGB", (200, 200), 0)
    image.info["stream"] = sys.stdout
    with pytest.raises(TypeError, match="pickle"):
        gather_object([image])
    assert gather_object([here.rank]) == list(range(here.size))


def test_an_image_that_cannot_be_pickled(backend):
    backend.run(gather_unpicklable, size=2)


def test_nothing_is_imported_for_it(fresh):
    fresh.launch(
        """
        import sys
        import numpy as np
        from pyaccel.utils import gather_object
        assert len(gather_object([np.zeros(9000)])) == 2
        assert not [name for name in sys.modules if name.startswith("PIL")]
        """,
        size=2,
    ).check()
