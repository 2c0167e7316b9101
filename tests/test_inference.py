"""Classifying images with nothing but a file; the command line's tests do it on real digits."""

import numpy as np
import onnxruntime
import pytest
from command_line import IMAGES, digits_onnx, dynamic_onnx

from natdeploy.errors import NatdeployError
from natdeploy.inference import classify
from natdeploy.preprocessing import batch_from_images
from natdeploy.runners import runner_for_artifact


def test_probabilities_are_the_softmax_of_the_logits():
    metadata = runner_for_artifact(digits_onnx()).metadata
    session = onnxruntime.InferenceSession(digits_onnx(), providers=["CPUExecutionProvider"])
    pixels = batch_from_images(IMAGES[:3], metadata.preprocessing)
    logits = session.run(["logits"], {"pixel_values": pixels})[0].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = classify(digits_onnx(), IMAGES[:3], top=10)
    for one, row in zip(found, expected, strict=True):
        assert [guess.index for guess in one.guesses] == list(np.argsort(-row))
        assert [guess.probability for guess in one.guesses] == pytest.approx(sorted(row, reverse=True))
        assert [guess.label for guess in one.guesses] == [metadata.labels[guess.index] for guess in one.guesses]


def test_a_fixed_batch_is_filled_with_one_image():
    runner = runner_for_artifact(dynamic_onnx())
    assert (runner.metadata.preprocessing.crop_size, runner.metadata.size_limits.batch) == ((40, 40), 3)
    pixels = batch_from_images(IMAGES[4:7], runner.metadata.preprocessing)
    expected = runner.run({"pixel_values": pixels})["logits"].argmax(1)
    found = classify(dynamic_onnx(), IMAGES[4:7])
    assert [one.guesses[0].index for one in found] == list(expected)


def test_progress_goes_through_every_image():
    seen = []

    def each(images):
        for image in images:
            seen.append(image)
            yield image

    assert [one.image for one in classify(digits_onnx(), IMAGES[:2], each=each)] == seen == IMAGES[:2]


def test_every_bad_image_is_named(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(NatdeployError) as raised:
        classify(digits_onnx(), [tmp_path / "text.png", IMAGES[0], tmp_path / "gone.png"])
    assert "2 of 3 images" in str(raised.value)
    assert "text.png" in str(raised.value)
    assert "gone.png" in str(raised.value)
