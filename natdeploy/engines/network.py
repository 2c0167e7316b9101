"""Parsing and building, inside the worker's process: the only code that calls TensorRT's builder."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from natdeploy.engines.builder_config import apply_config, uses_tf32
from natdeploy.engines.messages import problems_of_log, problems_of_parser
from natdeploy.engines.tensorrt_module import DTYPES, Failed

Tell = Callable[[dict[str, Any]], None]


def build(trt: Any, builder: Any, log: Any, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Parse the file of a request and, unless it is a dry run, build it.

    Args:
        trt: The TensorRT module.
        builder: Its ``Builder``.
        log: Its logger, with ``messages``.
        request: As ``builder.py`` writes it.
        tell: Passes ``{"progress": share}`` on.

    Returns:
        What was parsed and built, as JSON types.

    Raises:
        Failed: With everything that TensorRT said.
    """
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(request["onnx"]):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        raise Failed("parse", problems_of_parser(errors, log.messages))
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    plugins = {layer.name: _type_name(layer.get_output(0)) for layer in layers if layer.type.name == "PLUGIN_V3"}
    _check_attention(request["attention"], plugins)
    config = builder.create_builder_config()
    apply_config(trt, config, request)
    _add_profile(builder, config, request["profile"], log)
    seen = {
        "version": str(trt.__version__),
        "layers": len(layers),
        "plugins": plugins,
        "inputs": [_tensor(network.get_input(i)) for i in range(network.num_inputs)],
        "outputs": [_tensor(network.get_output(i)) for i in range(network.num_outputs)],
        "optimization_level": config.builder_optimization_level,
        "tf32": uses_tf32(trt, config),
        "hardware_compatibility": config.hardware_compatibility_level.name,
    }
    if request["dry_run"]:
        return seen
    config.progress_monitor = _monitor(trt, tell)
    return {**seen, **_built(builder, network, config, request, log)}


def _network_flags(trt: Any) -> int:
    """Ask for strong typing where it is a choice: TensorRT 11 and TensorRT for RTX have nothing else."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    major = int(str(trt.__version__).partition(".")[0])
    return 1 << int(flag) if flag is not None and major == 10 else 0


def _check_attention(wanted: dict[str, str], plugins: dict[str, str]) -> None:
    """Refuse a network in which an attention node became something else than the plugin."""
    if missing := [name for name in wanted if name not in plugins]:
        raise Failed("network", [f"{name} ({wanted[name]})" for name in missing])


def _add_profile(builder: Any, config: Any, points: dict[str, Any], log: Any) -> None:
    if not points:
        return
    profile = builder.create_optimization_profile()
    for name, shapes in points.items():
        profile.set_shape(name, *shapes)
    if config.add_optimization_profile(profile) < 0:
        raise Failed("config", problems_of_log(log.messages) or ["the optimisation profile was refused"])


def _built(builder: Any, network: Any, config: Any, request: dict[str, Any], log: Any) -> dict[str, Any]:
    start = time.monotonic()
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Failed("build", problems_of_log(log.messages) or ["TensorRT gave no reason"])
    try:
        with Path(request["plan"]).open("wb") as file:
            file.write(plan)
        if request["timing_cache_out"]:
            Path(request["timing_cache_out"]).write_bytes(bytes(config.get_timing_cache().serialize()))
    except OSError as error:
        raise Failed("write", [error.strerror or str(error)]) from error
    return {
        "bytes": plan.nbytes,
        "sha256": hashlib.sha256(plan).hexdigest(),
        "seconds": round(time.monotonic() - start, 1),
    }


def _tensor(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": _type_name(tensor), "shape": list(tensor.shape)}


def _type_name(tensor: Any) -> str:
    """Name a tensor's type as ONNX files and NumPy do."""
    name = str(tensor.dtype.name)
    return DTYPES.get(name, name.lower())


def _monitor(trt: Any, tell: Tell) -> Any:
    """Turn TensorRT's nested phases into one number from 0 to 1: each is as much of its parent as one step."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.progress = Progress()
            self.told = 0.0

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self.progress.start(phase, parent, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            self.progress.complete(phase, step)
            self._tell()
            return True

        def phase_finish(self, phase: str) -> None:
            self.progress.finish(phase)
            self._tell()

        def _tell(self) -> None:
            if (share := self.progress.share()) >= self.told + 0.01:
                self.told = share
                tell({"progress": round(share, 3)})

    return Monitor()


class Progress:
    """How far a build is, from the phases that TensorRT tells; a phase may hold others and may come again."""

    def __init__(self) -> None:
        self._open: dict[str, list[int]] = {}  # steps done and steps in all, outermost phase first

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """Begin a phase inside ``parent``."""
        self._open[phase] = [0, max(steps, 1)]

    def complete(self, phase: str, step: int) -> None:
        """Note that a phase has done its steps up to ``step``, counted from 0."""
        if phase in self._open:
            self._open[phase][0] = step + 1

    def finish(self, phase: str) -> None:
        """End a phase."""
        if phase in self._open and len(self._open) > 1:
            del self._open[phase]
        elif phase in self._open:
            self._open[phase][0] = self._open[phase][1]

    def share(self) -> float:
        """Give the part of the outermost phase that is done."""
        share, step = 0.0, 1.0
        for done, steps in self._open.values():
            share += step * min(done / steps, 1.0)
            step /= steps
        return min(share, 1.0)
