"""The document in every file of ours."""

import dataclasses
import json

import jsonschema
import pytest
from golden import GOLDEN, MODELS

from natdeploy.checkpoints import weights_from_checkpoint
from natdeploy.errors import NatdeployError
from natdeploy.input_format import INPUT_FORMATS
from natdeploy.models.config import ModelConfig
from natdeploy.models.outputs import default_outputs
from natdeploy.models.variants import VARIANTS
from natdeploy.onnx_files.metadata import (
    SCHEMA_VERSION,
    Metadata,
    _schema,
    metadata_from_json,
    metadata_from_properties,
)
from natdeploy.onnx_files.settings import MAX_IMAGE_SIZE
from natdeploy.ops.support import FORMS
from natdeploy.preprocessing import Preprocessing
from natdeploy.size_limits import SizeLimits

SCHEMA = _schema()


def metadata_of(config: ModelConfig, preprocessing: Preprocessing, **changes) -> Metadata:
    size = preprocessing.crop_size
    values = {
        "form": "hybrid",
        "config": config,
        "labels": (),
        "preprocessing": preprocessing,
        "size_limits": SizeLimits(size, size),
        "outputs": default_outputs(config),
        "probes": ("stem",),
        "variant": None,
        "checkpoint_source": "somewhere",
        "checkpoint_sha256": "0" * 64,
    }
    return Metadata(**{**values, **changes})


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_comes_back(name):
    variant = VARIANTS[name]
    recipe = Preprocessing.of_imagenet(variant.config.image_size, variant.crop_fraction)
    limits = SizeLimits((64, 64), (512, 512), 3)
    written = metadata_of(
        variant.config, recipe, variant=name, size_limits=limits, labels=("ä",) * variant.config.num_labels
    )
    assert metadata_from_json(written.to_json(), "test") == written


@pytest.mark.parametrize("name", MODELS)
def test_every_golden_checkpoint_comes_back(name):
    checkpoint = weights_from_checkpoint(GOLDEN / name)
    written = metadata_of(checkpoint.config, checkpoint.preprocessing, labels=checkpoint.labels)
    assert metadata_from_json(written.to_json(), "test") == written


def test_a_model_of_channels_that_no_image_has_comes_back():
    config = dataclasses.replace(VARIANTS["nat_mini"].config, num_channels=4)
    written = metadata_of(config, Preprocessing.of_imagenet(224, num_channels=4))
    assert written.preprocessing.channel_order is None
    assert metadata_from_json(written.to_json(), "test") == written


def test_a_file_that_takes_pixels_comes_back():
    recipe = dataclasses.replace(Preprocessing.of_imagenet(224), input_format="uint8-nhwc")
    limits = SizeLimits((64, 64), (512, 512), 3, input_format="uint8-nhwc")
    written = metadata_of(VARIANTS["nat_mini"].config, recipe, size_limits=limits)
    assert metadata_from_json(written.to_json(), "test") == written


def test_documents_from_before_there_were_input_formats_are_of_float32():
    written = metadata_of(VARIANTS["nat_mini"].config, Preprocessing.of_imagenet(224))
    document = json.loads(written.to_json())
    assert document["preprocessing"].pop("input_format") == "float32-nchw"
    assert metadata_from_json(json.dumps(document), "test") == written


@pytest.mark.parametrize(
    ("channels", "input_format", "says"),
    [(4, "uint8-nhwc", "uint8-nhwc for 4 channels, which no image has"), (3, "int8", "preprocessing.input_format")],
)
def test_an_input_format_that_cannot_be_is_refused(channels, input_format, says):
    config = dataclasses.replace(VARIANTS["nat_mini"].config, num_channels=channels)
    recipe = dataclasses.replace(Preprocessing.of_imagenet(224, num_channels=channels), input_format=input_format)
    with pytest.raises(NatdeployError, match=f"damaged.*{says}"):
        metadata_from_json(metadata_of(config, recipe).to_json(), "test")


def test_the_same_content_is_the_same_text():
    config = VARIANTS["nat_mini"].config
    one, other = (metadata_of(config, Preprocessing.of_imagenet(224)).to_json() for _ in range(2))
    assert one == other
    assert json.loads(one)["schema"] == SCHEMA_VERSION


def test_the_schema_describes_what_the_code_has():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    fields = SCHEMA["properties"]
    names = {field.name for field in dataclasses.fields(ModelConfig)}
    assert set(fields["config"]["properties"]) == names
    recipe = {field.name for field in dataclasses.fields(Preprocessing)}
    assert set(fields["preprocessing"]["properties"]) == recipe | {"antialias"}
    assert fields["form"]["enum"] == sorted(FORMS)
    assert fields["preprocessing"]["properties"]["input_format"]["enum"] == list(INPUT_FORMATS)
    assert SCHEMA["$defs"]["pixels"]["maximum"] == MAX_IMAGE_SIZE
    document = json.loads(metadata_of(VARIANTS["nat_mini"].config, Preprocessing.of_imagenet(224)).to_json())
    assert set(document) == set(fields) == set(SCHEMA["required"])


def test_every_field_says_what_it_means():
    def undescribed(schema, path=""):
        for name, field in schema.get("properties", {}).items():
            if len(field.get("description", "")) < 5:
                yield f"{path}{name}"
            yield from undescribed(field, f"{path}{name}.")

    assert list(undescribed(SCHEMA)) == []


def test_unknown_fields_are_ignored_and_newer_versions_refused():
    written = metadata_of(VARIANTS["nat_mini"].config, Preprocessing.of_imagenet(224))
    document = json.loads(written.to_json())
    document["engine"] = {"tensorrt": "10.15"}
    document["config"]["gate"] = True
    document["preprocessing"]["gamma"] = 2.2
    assert metadata_from_json(json.dumps(document), "test") == written
    with pytest.raises(NatdeployError, match=r"of version 2\..*Update natdeploy"):
        metadata_from_json(json.dumps({"schema": 2}), "test")
    with pytest.raises(NatdeployError, match="damaged"):
        metadata_from_json(json.dumps({**document, "schema": True}), "test")


def test_all_problems_are_listed_together():
    document = json.loads(metadata_of(VARIANTS["nat_mini"].config, Preprocessing.of_imagenet(224)).to_json())
    document["form"], document["labels"] = "best", 7
    del document["config"]["depths"]
    with pytest.raises(NatdeployError) as raised:
        metadata_from_json(json.dumps(document), "m.onnx")
    for part in ("'m.onnx'", "config: 'depths' is a required property", "form: 'best'", "labels: 7", "again"):
        assert part in str(raised.value)


def test_a_file_without_the_document():
    with pytest.raises(NatdeployError, match="not written by natdeploy"):
        metadata_from_properties({"other": "{}"}, "m.onnx")
