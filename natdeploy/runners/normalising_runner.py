"""A reference that takes pixels as they are: another one, behind the normalisation that its checkpoint asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from natdeploy.input_format import INPUT_FORMATS, NORMALISED
from natdeploy.preprocessing import Preprocessing, normalised
from natdeploy.runners.protocol import Array, Runner, TensorSpec, check_inputs, check_probes

_PIXELS = INPUT_FORMATS["uint8-nhwc"]


class NormalisingRunner:
    """Normalises pixels in float64 and passes them on (see :class:`natdeploy.runners.protocol.Runner`).

    Args:
        runner: Takes ``pixel_values`` ``[B, channels, H, W]`` in float64.
        recipe: How its checkpoint's images are normalised.
    """

    def __init__(self, runner: Runner, recipe: Preprocessing) -> None:
        self._runner, self._recipe = runner, recipe
        self.name = runner.name
        (given,) = runner.inputs
        self.inputs: tuple[TensorSpec, ...] = (TensorSpec(given.name, _PIXELS.dtype, _PIXELS.shape(*given.shape)),)
        self.outputs = runner.outputs
        self.probes = (NORMALISED, *runner.probes)
        limits = runner.size_limits
        self.size_limits = replace(limits, input_format="uint8-nhwc") if limits is not None else None

    def run(self, inputs: Mapping[str, Array], probes: Sequence[str] = ()) -> dict[str, Array]:
        """Compute all outputs and the probes asked for."""
        check_inputs(self, inputs)
        check_probes(self, probes)
        pixels = normalised(inputs["pixel_values"], self._recipe, "float64")
        found = self._runner.run({"pixel_values": pixels}, [name for name in probes if name != NORMALISED])
        return found | ({NORMALISED: pixels} if NORMALISED in probes else {})

    def environment(self) -> dict[str, str]:
        """Versions and device."""
        return self._runner.environment()
