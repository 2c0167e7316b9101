"""What the worker makes of TensorRT's objects: progress, settings and errors; the objects here are pretended."""

import enum
from types import SimpleNamespace

import pytest

from natdeploy.engines.backends import TENSORRT, TENSORRT_RTX
from natdeploy.engines.builder_config import apply_config, uses_tf32
from natdeploy.engines.messages import problems_of_log, problems_of_parser
from natdeploy.engines.network import Progress, _check_attention, _network_flags
from natdeploy.engines.sizes import bytes_from_text
from natdeploy.engines.tensorrt_module import Failed


def test_progress_only_grows_and_ends_at_one():
    progress, shares = Progress(), []

    def step(phase, number):
        progress.complete(phase, number)
        shares.append(progress.share())

    progress.start("build", None, 2)
    progress.start("graph", "build", 4)
    for number in range(4):
        step("graph", number)
    assert shares == [0.125, 0.25, 0.375, 0.5]
    progress.finish("graph")
    step("build", 0)
    progress.start("empty", "build", 0)
    progress.finish("empty")
    progress.start("tactics", "build", 5)
    step("tactics", 2)
    assert shares[-2:] == [0.5, pytest.approx(0.8)]
    progress.finish("tactics")
    step("build", 1)
    progress.finish("build")
    assert progress.share() == 1.0
    assert shares == sorted(shares)


Flag = enum.Enum("Flag", "TF32 VERSION_COMPATIBLE")
Pool = enum.Enum("Pool", "WORKSPACE")
Feature = enum.Enum("Feature", "ALIASED")
TRT = SimpleNamespace(BuilderFlag=Flag, MemoryPoolType=Pool, PreviewFeature=Feature)
NOTHING = {
    "workspace": None,
    "optimization_level": None,
    "version_compatible": False,
    "embed_plugin": False,
    "timing_cache_out": None,
    "config": {},
}


class Config:
    """Keeps what it is told, but no more than four streams, as TensorRT goes on with its own value."""

    def __init__(self):
        self.seen, self.streams, self.builder_optimization_level = [], 0, 3

    @property
    def max_aux_streams(self):
        return self.streams

    @max_aux_streams.setter
    def max_aux_streams(self, count):
        self.streams = min(count, 4)

    def set_flag(self, flag):
        self.seen.append(("set", flag))

    def clear_flag(self, flag):
        self.seen.append(("clear", flag))

    def get_flag(self, flag):
        return [what for what, which in self.seen if which is flag][-1] == "set"

    def set_preview_feature(self, feature, on):
        self.seen.append((feature, on))

    def set_memory_pool_limit(self, pool, size):
        self.seen.append((pool, size))


def test_settings_go_where_tensorrt_has_them():
    config = Config()
    wanted = {"TF32": "off", "ALIASED": "1", "WORKSPACE": "2MiB", "max_aux_streams": "3"}
    apply_config(TRT, config, {**NOTHING, "version_compatible": True, "optimization_level": 5, "config": wanted})
    assert config.seen == [
        ("clear", Flag.TF32),
        ("set", Flag.VERSION_COMPATIBLE),
        ("clear", Flag.TF32),
        (Feature.ALIASED, True),
        (Pool.WORKSPACE, 2 * 2**20),
    ]
    assert (config.max_aux_streams, config.builder_optimization_level) == (3, 5)


@pytest.mark.parametrize("wanted, last", [({}, "clear"), ({"TF32": "1"}, "set")])
def test_float32_is_float32_unless_tf32_is_asked_for(wanted, last):
    config = Config()
    apply_config(TRT, config, {**NOTHING, "config": wanted})
    assert config.seen[-1] == (last, Flag.TF32)
    assert uses_tf32(TRT, config) is (last == "set")


def test_a_value_that_tensorrt_changes_is_told():
    with pytest.raises(Failed) as raised:
        apply_config(TRT, Config(), {**NOTHING, "config": {"max_aux_streams": "9"}})
    assert raised.value.problems[0] == "max_aux_streams is '9', which TensorRT does not take: it stays 4"


def test_attention_that_became_something_else_is_refused():
    wanted = {"one": "PackedNeighborhoodAttention", "two": "PackedNeighborhoodAttention"}
    _check_attention(wanted, {"one": "float32", "two": "float32", "other": "float32"})
    with pytest.raises(Failed) as raised:
        _check_attention(wanted, {"one": "float32"})
    assert (raised.value.stage, raised.value.problems) == ("network", ["two (PackedNeighborhoodAttention)"])


@pytest.mark.parametrize("version, value, flags", [("10.15.1", 1, 2), ("11.4.0", 0, 0), ("1.7.1", 0, 0)])
def test_strong_typing_is_asked_for_where_it_is_a_choice(version, value, flags):
    names = SimpleNamespace(STRONGLY_TYPED=value)
    assert _network_flags(SimpleNamespace(__version__=version, NetworkDefinitionCreationFlag=names)) == flags


def test_functions_are_taken_out_for_parsers_that_would_prefer_them():
    versions = ("10.3.0", "10.6.0", "10.7.0", "10.15.1.29", "11.4.0.106")
    assert [TENSORRT.prefers_functions(version) for version in versions] == [True, True, False, False, False]
    assert not TENSORRT_RTX.prefers_functions("1.7.1.116")


def _error(description, node, name):
    values = {"desc": description, "node": node, "node_name": name, "node_operator": "Op"}
    return SimpleNamespace(**{key: lambda value=value: value for key, value in values.items()})


def test_errors_of_the_parser_are_told_once_with_their_nodes():
    errors = [_error("Assertion failed: x > 0: too small", i, f"n{i}" if i else "") for i in range(7)]
    errors.append(_error('creator && "Plugin not found, are the plugin name, version, and namespace correct?"', 9, "p"))
    log = ["ModelImporter.cpp:140: While parsing", "natdeploy: Op: createPlugin: scale is missing"]
    assert problems_of_parser(errors, log) == [
        "x > 0: too small: node 0 (Op), n1 (Op), n2 (Op), n3 (Op), n4 (Op) and 2 more",
        "there is no plugin for this op, in the version and namespace that the node names: p (Op)",
        "natdeploy: Op: createPlugin: scale is missing",
    ]


def test_logs_are_reduced_to_what_they_are_about():
    log = [
        "IBuilder::build: Error Code 4: API Usage Error (Bad profile. In operator() at /_src/network.cpp:4067)",
        "[x.cpp::y::25] Error Code 1: Cuda Runtime (In y at /_src/x.cpp:25 (cudaError 35: CUDA driver version))",
        "IBuilder::build: Error Code 4: API Usage Error (Bad profile. In operator() at /_src/network.cpp:4067)",
    ]
    assert problems_of_log(log) == ["Bad profile."]


@pytest.mark.parametrize(
    "text, size",
    [("4GiB", 4 * 2**30), ("512M", 512 * 2**20), ("64 kib", 65536), ("7", 7), ("8B", 8), ("1.5G", None), ("GiB", None)],
)
def test_sizes(text, size):
    assert bytes_from_text(text) == size
