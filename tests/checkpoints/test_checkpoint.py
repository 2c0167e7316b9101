"""The hash of a checkpoint: of its weights, whatever file they came in."""

from dataclasses import replace

import torch
from checkpoints.tiny import GOLDEN

from natdeploy.checkpoints import weights_from_checkpoint


def test_hash_is_of_names_shapes_and_values_alone():
    checkpoint = weights_from_checkpoint(GOLDEN / "shi_nat")
    tensors = dict(checkpoint.tensors)
    name = "stages.0.blocks.0.attention.rpb"

    def hashed(changes, **others):
        return replace(checkpoint, tensors=tensors | changes, **others).sha256

    assert hashed({}) == checkpoint.sha256
    assert replace(checkpoint, tensors=dict(reversed(tensors.items()))).sha256 == checkpoint.sha256
    assert hashed({}, source="elsewhere", labels=("cat",)) == checkpoint.sha256
    assert hashed({name: tensors[name].double()}) == checkpoint.sha256  # the same values
    changed = tensors[name].clone()
    changed[0, 0, 0] = torch.nextafter(changed[0, 0, 0], torch.tensor(torch.inf))
    others = {hashed({name: changed}), hashed({name: tensors[name].flatten()}), hashed({"extra": torch.zeros(1)})}
    assert len(others | {checkpoint.sha256}) == 4


def test_weights_are_not_in_the_way_when_a_checkpoint_is_shown():
    assert "tensor" not in repr(weights_from_checkpoint(GOLDEN / "shi_nat"))
