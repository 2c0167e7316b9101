"""How large an error may be, per precision of the candidate, as a share of each output's standard deviation.

Each figure carries where it was measured; the promise of docs/design.md is 1e-4 in float32.
"""

from __future__ import annotations

# The half types: worst of all outputs of all golden checkpoints (tests/data/golden), both forms, fixed and free sizes,
# on their recorded images; x86-64 CPU. The worst are feature maps, whose largest of some 10000 numbers counts; logits
# alone reach 5.3e-3 and 3.8e-2. PyTorch with half weights is at 1.6e-2 and 1.1e-1 on the same.
MODEL_TOLERANCE = {
    "float32": 1e-4,
    # Not measured yet, which takes a GPU: as float16, which rounds what is multiplied to the same 10 bits.
    "tf32": 2e-2,
    "float16": 2e-2,  # measured 1.02e-2 in ONNX Runtime 1.32 (hf_dinat_backbone); x2
    "bfloat16": 2.5e-1,  # measured 1.27e-1 in onnx 1.23's reference evaluator (hf_dinat_backbone); x2
}


def tolerance_for(precision: str) -> float:
    """Give the tolerance of a model whose weights have this precision."""
    return MODEL_TOLERANCE[precision]
