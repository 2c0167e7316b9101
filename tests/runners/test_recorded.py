"""Recorded inputs and outputs."""

import json

import numpy as np
import pytest

from natdeploy.errors import NatdeployError
from natdeploy.runners.protocol import TensorSpec
from natdeploy.runners.recorded import RecordedRunner, batches_from_npz, record_reference

PIXELS = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)


class Reference:
    name, probes, size_limits = "a reference", (), None
    inputs = outputs = ()

    def environment(self):
        return {"torch": "2.15"}


@pytest.fixture
def recording(tmp_path):
    outputs = {"logits": np.ones((2, 7)), "pooled": np.zeros((2, 8), np.float32)}
    record_reference(tmp_path / "r.npz", Reference(), [{"pixel_values": PIXELS}], [outputs], sha256="abc")
    assert [path.name for path in tmp_path.iterdir()] == ["r.npz"]
    return tmp_path / "r.npz"


def test_what_was_recorded_is_played(recording):
    runner = RecordedRunner(recording)
    assert runner.name == "a reference (recorded in r.npz)"
    assert (runner.environment(), runner.checkpoint_sha256) == ({"torch": "2.15"}, "abc")
    assert runner.outputs == (TensorSpec("logits", "float64", (2, 7)), TensorSpec("pooled", "float32", (2, 8)))
    (inputs,) = runner.recorded_inputs
    played = runner.run(inputs)
    assert np.array_equal(played["logits"], np.ones((2, 7)))
    assert np.array_equal(inputs["pixel_values"], PIXELS)


def test_every_batch_is_recorded_and_played_in_order(tmp_path):
    inputs = [{"pixel_values": PIXELS}, {"pixel_values": PIXELS[:1]}, {"pixel_values": -PIXELS[:, :, :3]}]
    outputs = [{"logits": np.full((len(batch["pixel_values"]), 7), n, np.float32)} for n, batch in enumerate(inputs)]
    record_reference(tmp_path / "r.npz", Reference(), inputs, outputs)
    runner = RecordedRunner(tmp_path / "r.npz", ["logits"])
    assert runner.outputs == (TensorSpec("logits", "float32", ()),)  # of no shape that holds for all
    assert [batch["pixel_values"].shape for batch in runner.recorded_inputs] == [
        batch["pixel_values"].shape for batch in inputs
    ]
    for number, (batch, expected) in enumerate(zip(runner.recorded_inputs, inputs, strict=True)):
        assert np.array_equal(batch["pixel_values"], expected["pixel_values"])
        assert runner.run(batch)["logits"][0, 0] == number
        assert runner.run({"pixel_values": expected["pixel_values"].copy()})["logits"][0, 0] == number


@pytest.mark.parametrize(
    ("later", "says"),
    [
        ({"batch2/pixel_values": PIXELS}, "Needed: logits"),
        ({"batch2/logits": np.ones((2, 7))}, "batch2, has no array 'pixel_values'"),
        ({"batch2/pixel_values": PIXELS * np.nan, "batch2/logits": np.ones((2, 7))}, "batch2, are no images"),
    ],
    ids=["output missing", "input missing", "input not finite"],
)
def test_a_later_batch_is_trusted_no_more_than_the_first(later, says, tmp_path):
    np.savez(tmp_path / "r.npz", pixel_values=PIXELS, logits=np.ones((2, 7)), **later)
    with pytest.raises(NatdeployError, match=says):
        RecordedRunner(tmp_path / "r.npz", ["logits"])


def test_only_the_outputs_that_are_asked_for(recording):
    assert set(RecordedRunner(recording, ["pooled"]).run({"pixel_values": PIXELS})) == {"pooled"}
    with pytest.raises(NatdeployError, match=r"Got: logits, pooled\. Needed: norm, stem\."):
        RecordedRunner(recording, ["norm", "logits", "stem"])


def test_other_inputs_have_no_recorded_outputs(recording):
    with pytest.raises(NatdeployError, match="recorded with"):
        RecordedRunner(recording).run({"pixel_values": PIXELS + 1})


def test_a_file_of_other_people_will_do(tmp_path):
    np.savez(tmp_path / "r.npz", pixel_values=PIXELS.astype(np.float16), logits=np.ones((2, 7)), ids=np.arange(2))
    runner = RecordedRunner(tmp_path / "r.npz")
    assert runner.recorded_inputs[0]["pixel_values"].dtype == np.float32
    assert [spec.name for spec in runner.outputs] == ["logits"]  # integers are no outputs of ours
    assert (runner.name, runner.environment(), runner.checkpoint_sha256) == (
        "recorded outputs (recorded in r.npz)", {}, None)  # fmt: skip


def test_pixels_stay_pixels(tmp_path):
    pixels = PIXELS.astype(np.uint8).transpose(0, 2, 3, 1)
    record_reference(tmp_path / "r.npz", Reference(), [{"pixel_values": pixels}], [{"logits": np.ones((2, 7))}])
    runner = RecordedRunner(tmp_path / "r.npz")
    assert runner.inputs == (TensorSpec("pixel_values", "uint8", (2, 4, 5, 3)),)
    assert runner.run({"pixel_values": pixels.copy()})["logits"].shape == (2, 7)
    with pytest.raises(NatdeployError, match="recorded with"):
        runner.run({"pixel_values": pixels[:, ::-1]})


def test_the_description_is_json(recording):
    with np.load(recording, allow_pickle=False) as archive:
        document = json.loads(str(archive["natdeploy.reference"]))
    assert document == {"name": "a reference", "environment": {"torch": "2.15"}, "checkpoint_sha256": "abc"}


def test_a_recording_is_replaced_whole_or_not_at_all(recording):
    before = recording.read_bytes()

    class Broken(Reference):
        def environment(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="space"):
        record_reference(recording, Broken(), [{"pixel_values": PIXELS}], [{}])
    assert recording.read_bytes() == before
    assert len(list(recording.parent.iterdir())) == 1
    assert batches_from_npz(recording)[0]["logits"].shape == (2, 7)
