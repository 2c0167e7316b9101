"""ONNX file → TensorRT plan and its sidecar (builder.py), and what a plan is without TensorRT (plan_header.py)."""
