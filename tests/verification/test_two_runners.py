"""Two runners on the same batches: stand-ins that give what they are told."""

import numpy as np
import pytest

from natdeploy.errors import NatdeployError
from natdeploy.runners.protocol import TensorSpec
from natdeploy.verification import verify


class Played:
    """Gives ``outputs``, a function of the pixels for each name."""

    def __init__(self, outputs, probes=None, name="played"):
        self.name, self._all = name, {**outputs, **(probes or {})}
        self.inputs = (TensorSpec("pixel_values", "float32", ()),)
        self.outputs = tuple(TensorSpec(name, "float32", ()) for name in outputs)
        self.probes = tuple(probes or {})
        self.size_limits = None
        self.calls = []

    def run(self, inputs, probes=()):
        self.calls.append(inputs["pixel_values"].shape)
        names = [*(spec.name for spec in self.outputs), *probes]
        return {name: self._all[name](inputs["pixel_values"]) for name in names}

    def environment(self):
        return {"device": self.name}


def batches(*shapes):
    generator = np.random.default_rng(1)
    return [{"pixel_values": generator.standard_normal(shape).astype(np.float32)} for shape in shapes]


def rows(pixels):
    return pixels.reshape(len(pixels), -1)[:, :6]


def image(pixels):
    return pixels[:, :1] * 2


def test_batches_count_as_one():
    reference, candidate = Played({"logits": rows}), Played({"logits": lambda x: rows(x) * np.float32(1.001)}, name="c")
    report = verify(reference, candidate, batches((2, 3, 4, 5), (3, 3, 4, 5)), inputs_from="noise", tolerance=1)
    (output,) = report.outputs
    assert output.shape == (5, 6)
    joined = np.concatenate([rows(batch["pixel_values"]) for batch in batches((2, 3, 4, 5), (3, 3, 4, 5))])
    assert output.error == pytest.approx(np.abs(joined * 0.001).max() / joined.std(), rel=1e-3)
    assert report.inputs == "noise 2x3x4x5 + 3x3x4x5"
    assert report.environments == {"reference": {"device": "played"}, "candidate": {"device": "c"}}


def test_equal_batches_are_counted():
    runner = Played({"logits": rows})
    report = verify(runner, runner, batches(*[(2, 3, 4, 5)] * 3, (1, 3, 4, 5), (2, 3, 4, 5)), inputs_from="images")
    assert report.inputs == "images 3 of 2x3x4x5 + 1x3x4x5 + 2x3x4x5"
    assert report.outputs[0].shape == (9, 6)


def test_maps_of_several_sizes():
    both = {"map": image}
    report = verify(Played(both), Played(both), batches((1, 3, 4, 5), (1, 3, 6, 2)))
    assert report.outputs[0].shape == (20 + 12,)
    assert report.agrees


def test_a_wrong_shape_is_not_lost_among_sizes():
    candidate = Played({"map": lambda x: image(x).transpose(0, 1, 3, 2)})
    report = verify(Played({"map": image}), candidate, batches((1, 3, 4, 4), (1, 3, 6, 2)))
    assert report.outputs[0].failure == "shape: 1x1x2x6 instead of 1x1x6x2"


def test_an_output_that_one_batch_lacks():
    class Forgetful(Played):
        def run(self, inputs, probes=()):
            return super().run(inputs, probes) if len(self.calls) == 0 else {}

    report = verify(Played({"map": image}), Forgetful({"map": image}), batches((1, 3, 4, 4), (1, 3, 4, 4)))
    assert report.outputs[0].verdict == "missing"


def test_missing_extra_and_reordered_outputs():
    a, b, c = ({name: image} for name in "abc")
    found = verify(Played(a | b | c), Played(c | a), batches((1, 3, 4, 4)))
    assert {o.name: o.verdict for o in found.outputs} == {"a": "order", "b": "missing", "c": "order"}
    assert found.outputs[0].failure == "order: it is output 2 instead of 1"
    found = verify(Played(a | b), Played(c | a | b), batches((1, 3, 4, 4)))
    assert {o.name: o.verdict for o in found.outputs} == {"a": "agrees", "b": "agrees", "c": "unexpected"}
    assert not found.agrees
    assert found.passing_tolerance is None


def test_layers_inform_and_outputs_decide():
    outputs = {"logits": rows}
    reference = Played(outputs, {"stem": image, "block": image, "norm": image})
    candidate = Played(outputs, {"block": lambda x: image(x) + 1, "stem": image})
    report = verify(reference, candidate, batches((2, 3, 4, 5)), layers=True)
    assert report.agrees
    assert [layer.name for layer in report.layers] == ["stem", "block"]
    assert report.first_drifting_layer.name == "block"
    assert report.notes == ("1 of the reference's 3 inner tensors are not in the file",)
    assert verify(reference, candidate, batches((2, 3, 4, 5))).layers == ()


def test_what_would_have_passed():
    candidate = Played({"a": lambda x: image(x) * np.float32(1.01), "b": lambda x: rows(x) * np.float32(1.2)})
    report = verify(Played({"a": image, "b": rows}), candidate, batches((4, 3, 4, 5)))
    again = verify(
        Played({"a": image, "b": rows}), candidate, batches((4, 3, 4, 5)), tolerance=report.passing_tolerance
    )
    assert not report.agrees
    assert again.agrees


def test_recording_and_progress():
    kept, seen = [], []

    def each(items):
        for item in items:
            seen.append(item["pixel_values"].shape)
            yield item

    verify(Played({"a": image}), Played({"a": image}), batches((1, 3, 4, 5), (2, 3, 4, 5)), recorded=kept, each=each)
    assert seen == [(1, 3, 4, 5), (2, 3, 4, 5)]
    assert [one["a"].shape for one in kept] == [(1, 1, 4, 5), (2, 1, 4, 5)]


def test_nothing_proves_nothing():
    with pytest.raises(NatdeployError, match="no inputs"):
        verify(Played({"a": image}), Played({"a": image}), [])
    assert not verify(Played({}), Played({}), batches((1, 3, 4, 5))).agrees
