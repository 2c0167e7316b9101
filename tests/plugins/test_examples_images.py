"""plugins/examples reads PPM, PGM, PNG and JSON as natdeploy does, and refuses what is damaged with a sentence."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from command_line import IMAGES
from PIL import Image
from plugins.example_build import has_libpng, read_images
from plugins.example_images import Job, Program, document

from natdeploy.preprocessing import Preprocessing, open_image, pixel_values_from_image

# Pixels as they are: neither resized nor cropped, scaled nor moved.
AS_IT_IS = {"resize": False, "center_crop": False, "value_range": 255.0}
RGB = Preprocessing((5, 7), mean=(0.0,) * 3, std=(1.0,) * 3, **AS_IT_IS)
GREY = Preprocessing((5, 7), mean=(0.0,), std=(1.0,), channel_order="L", **AS_IT_IS)


@pytest.fixture
def needs_png():
    if not has_libpng():
        pytest.skip("libpng's header (libpng-dev) is not installed")


@pytest.fixture
def program(tmp_path):
    return Program(tmp_path, read_images(sanitized=True, png=has_libpng()))


def samples(largest, channels, bytes_per_sample):
    """Pixels of a 5x7 image, the whole range in use, as big-endian bytes."""
    values = np.random.default_rng(largest).integers(0, largest + 1, (5, 7, channels))
    values.flat[:2] = (0, largest)
    return values.astype(">u2" if bytes_per_sample == 2 else "u1").tobytes()


def pnm(largest, head="P6\n7 5\n{}\n"):
    """A PPM file, or PGM where the head says so."""
    return head.format(largest).encode() + samples(largest, 1 if "P5" in head else 3, 1 if largest < 256 else 2)


def png(bit_depth, colour, row_bytes, *chunks, interlaced=False):
    """A PNG file of 5x7 random pixels, put together by hand: Pillow writes just some kinds."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 7, 5, bit_depth, colour, 0, 0, interlaced)
    noise = np.random.default_rng(bit_depth * 10 + colour)
    rows = [row_bytes] * 5
    if interlaced:  # row_bytes are then those of one pixel; rows of every pass of Adam7, one after the other
        passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
        rows = [len(range(x, 7, dx)) * row_bytes for x, y, dx, dy in passes for _ in range(y, 5, dy) if x < 7]
    data = zlib.compress(b"".join(b"\0" + noise.integers(0, 256, row, np.uint8).tobytes() for row in rows))
    parts = [chunk(b"IHDR", head), *(chunk(*c) for c in chunks), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def palette(entries):
    return b"PLTE", np.random.default_rng(entries).integers(0, 256, 3 * entries, np.uint8).tobytes()


PNM = {
    "P6": pnm(255),
    "P5": pnm(255, "P5\n7 5\n{}\n"),
    "P6, 16 bit": pnm(65535),
    "P5, 16 bit": pnm(65535, "P5\n7 5\n{}\n"),
    "P6 to 100": pnm(100),
    "P5 to 1": pnm(1, "P5\n7 5\n{}\n"),
    "P6 to 1000": pnm(1000),
    "P5 to 4095": pnm(4095, "P5\n7 5\n{}\n"),
    "values above the largest": b"P6\n7 5\n99\n" + samples(255, 3, 1),
    "comments": pnm(255, "P6 # a comment\r\n#another\n 7\t#\n5 \n#\n\n{} "),
    "more bytes than pixels": pnm(255) + b"tail",
}
PNG = {
    "grey": png(8, 0, 7),
    "grey, 1 bit": png(1, 0, 1),
    "grey, 2 bits": png(2, 0, 2),
    "grey, 4 bits": png(4, 0, 4),
    "grey, 16 bits": png(16, 0, 14),
    "grey, transparent value": png(8, 0, 7, (b"tRNS", b"\0\7")),
    "grey and alpha": png(8, 4, 14),
    "grey and alpha, 16 bits": png(16, 4, 28),
    "RGB": png(8, 2, 21),
    "RGB, 16 bits": png(16, 2, 42),
    "RGB, transparent value": png(8, 2, 21, (b"tRNS", b"\0\7\0\7\0\7")),
    "RGB, gamma": png(8, 2, 21, (b"gAMA", b"\0\0\xb1\x8f")),
    "RGB, interlaced": png(8, 2, 3, interlaced=True),
    "RGBA": png(8, 6, 28),
    "RGBA, 16 bits": png(16, 6, 56),
    "palette": png(8, 3, 7, palette(256)),
    "palette, 4 bits": png(4, 3, 4, palette(16)),
    "palette, 1 bit": png(1, 3, 1, palette(2)),
    "palette with transparency": png(8, 3, 7, palette(256), (b"tRNS", bytes(range(200)))),
}


def assert_read(program, files):
    jobs, expected = [], []
    for number, content in enumerate(files.values()):
        path = program.directory / f"{number}.image"
        path.write_bytes(content)
        for name, recipe in (("rgb", RGB), ("grey", GREY)):
            jobs.append(Job(program.write_document(document(recipe), f"{name}.json"), path))
            expected.append(pixel_values_from_image(open_image(path), recipe))
    assert program.run(jobs) == ["ok"] * len(jobs)
    for number, values in enumerate(expected):
        assert np.array_equal(program.values(number, values), values), list(files)[number // 2]


def test_pnm(program):
    assert_read(program, PNM)


@pytest.mark.usefixtures("needs_png")
def test_png(program):
    assert_read(program, PNG)


@pytest.mark.usefixtures("needs_png")
def test_digits(program):
    """PNG files that Pillow wrote, pixel for pixel."""
    recipe = Preprocessing((8, 8), channel_order="L", mean=(0.0,), std=(1.0,), **AS_IT_IS)
    good = program.write_document(document(recipe))
    assert program.run([Job(good, path) for path in IMAGES]) == ["ok"] * len(IMAGES)
    for number, path in enumerate(IMAGES):
        pixels = np.asarray(Image.open(path), np.float32)[None]
        assert np.array_equal(program.values(number, pixels), pixels)


BAD_IMAGES = {
    "no such file": (None, "cannot be read: No such file or directory"),
    "empty": (b"", "neither a PPM or PGM file"),
    "JPEG": (b"\xff\xd8\xff\xe0" + bytes(100), "neither a PPM or PGM file"),
    "text PPM": (b"P3\n1 1\n255\n1 2 3\n", "neither a PPM or PGM file"),
    "head alone": (b"P6\n7 5\n255", "its head does not end before its pixels"),
    "no head": (b"P6", "its head has no width"),
    "comment without an end": (b"P6\n#" + b"x" * 100, "its head has no width"),
    "negative": (b"P6\n-7 5\n255\n", "its head has no width"),
    "no rows": (b"P6\n7 0\n255\n", "its head has no height"),
    "too wide": (b"P6\n99999999999999999999 5\n255\n", "its width is larger than 1048576"),
    "too many pixels": (b"P6\n1000000 1000000\n255\n", "more than 178956970 pixels"),
    "too deep": (b"P6\n7 5\n65536\n", "its largest value is larger than 65535"),
    "cut off": (PNM["P6"][:-1], "it is cut off: 105 bytes of pixels are needed, 104 are there"),
    "16 bits cut off": (PNM["P6, 16 bit"][:-1], "it is cut off: 210 bytes"),
}
NOT_FILES = {"directory": Path.mkdir, "named pipe": os.mkfifo}
BAD_PNG = {
    "cut off": (PNG["RGB"][:60], "it is cut off"),
    "wrong pixels": (PNG["RGB"].replace(b"IDATx\x9c", b"IDATxx"), "cannot be read as an image"),
    "no palette": (png(8, 3, 7), "cannot be read as an image"),
    "too wide": (PNG["RGB"][:16] + b"\x7f\xff\xff\xff" + PNG["RGB"][20:], "cannot be read as an image"),
}


@pytest.mark.parametrize("content, part", BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_bad_images(program, content, part):
    assert_refused(program, content, part)


@pytest.mark.parametrize("make", NOT_FILES.values(), ids=NOT_FILES)
def test_what_is_no_file(program, make):
    make(program.directory / "image")
    assert_refused(program, None, "image' is no file.")


@pytest.mark.usefixtures("needs_png")
@pytest.mark.parametrize("content, part", BAD_PNG.values(), ids=BAD_PNG)
def test_bad_png(program, content, part):
    assert_refused(program, content, part)


def assert_refused(program, content, part):
    path = program.directory / "image"
    if content is not None:
        path.write_bytes(content)
    (told,) = program.run([Job(program.write_document(document(RGB)), path)])
    assert part in told
    assert told.startswith(f"'{path}' ")
    assert told.endswith(".")


def without(key):
    found = document(RGB)
    del found["preprocessing"][key]
    return found


def changed(**changes):
    found = document(RGB)
    found["preprocessing"].update(changes)
    return found


BAD_DOCUMENTS = {
    "empty": (b"", "is damaged: "),
    "no JSON": (b'{"schema": 1', "is damaged: "),
    "number": (b"7", "has no natdeploy metadata"),
    "null": (b"null", "has no natdeploy metadata"),
    "other document": (b"{}", "has no natdeploy metadata"),
    "not UTF-8": (b'{"schema": "\xff"}', "is damaged: "),
    "deep": (b"[" * 100_000, "it nests too deeply"),
    "deep objects": (b'{"a":' * 100_000, "it nests too deeply"),
    "number too large": (b'{"schema": 1e999}', "is damaged: "),
    "NaN": (b'{"schema": NaN}', "is damaged: "),
    "newer": (document(RGB, schema=2), "is of version 2, and this program reads version 1"),
    "much newer": (document(RGB, schema=2**64 - 1), "is of version 9223372036854775807"),
    "schema is a string": (document(RGB, schema="1"), "schema is no integer"),
    "no outputs": (document(RGB, outputs=["pooled"]), "it has no output 'logits'"),
    "labels of numbers": (document(RGB, labels=[1]), "labels[0] is no string"),
    "batch 0": (document(RGB, sizes={"batch": 0}), "sizes.batch is not between 1 and"),
    "no recipe": ({"schema": 1}, "preprocessing is missing"),
    "recipe is a list": (document(RGB, preprocessing=[]), "preprocessing is no object"),
    **{
        f"no {key}": (without(key), f"preprocessing.{key} is missing") for key in RGB.to_json() if key != "input_format"
    },
    "crop of one number": (changed(crop_size=[5]), "crop_size has not two numbers"),
    "crop of 0": (changed(crop_size=[0, 5]), "crop_size[0] is not between 1 and 16384"),
    "crop of 1e9": (changed(crop_size=[5, 10**9]), "crop_size[1] is not between 1 and 16384"),
    "crop of half": (changed(crop_size=[5.5, 7]), "crop_size[0] is no integer"),
    "huge crop": (changed(crop_size=[16384, 16384], center_crop=True), "crop_size has more than 178956970 pixels"),
    "edge": (changed(resize_edge=-1), "resize_edge is not between 1 and 16384"),
    "filter": (changed(interpolation="mitchell"), "interpolation is 'mitchell', which this program does not know"),
    "truth": (changed(resize=1), "resize is neither true nor false"),
    "channels": (changed(channel_order="BGR"), "channel_order is 'BGR'"),
    "arrays": (changed(channel_order=None), "takes arrays, not images"),
    "moments": (changed(mean=[0.5]), "mean has not one number for each of 3 channels"),
    "deviation": (changed(std=[1, 0, 1]), "std[1] is no number between"),
    "format": (changed(input_format="float16-nchw"), "input_format is 'float16-nchw'"),
    "another size": (changed(crop_size=[5, 8]), "neither resizes nor crops"),
}


@pytest.mark.parametrize("content, part", BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS)
def test_bad_documents(program, content, part):
    image = program.directory / "image"
    image.write_bytes(PNM["P6"])
    (told,) = program.run([Job(program.write_document(content), image)])
    assert part in told
    assert told.endswith(".")


def test_damaged_files_never_crash_the_program(program):
    """Bytes changed, cut out and doubled: refused, or read as something else, and nothing for the sanitizers."""
    generator = np.random.default_rng(3)
    whole = json.dumps(document(RGB)).encode()
    image = program.directory / "good"
    image.write_bytes(PNM["P6"])
    good = program.write_document(document(RGB), "good.json")
    jobs = []
    for number in range(900):
        source = [whole, PNM["comments"], PNG["palette with transparency"]][number % 3]
        damaged = bytearray(source)
        for _ in range(generator.integers(1, 4)):
            at = int(generator.integers(len(damaged)))
            match generator.integers(3):
                case 0:
                    damaged[at] = generator.integers(256)
                case 1:
                    del damaged[at : at + int(generator.integers(1, 20))]
                case 2:
                    damaged[at:at] = damaged[at : at + 9]
            damaged = damaged or bytearray(b"P")
        path = program.directory / f"damaged-{number}"
        path.write_bytes(damaged)
        jobs.append(Job(path, image) if number % 3 == 0 else Job(good, path))
    told = program.run(jobs)
    assert sum(line == "ok" for line in told) < 450  # most are refused
    assert all(line == "ok" or line.endswith(".") for line in told)
