"""ONNX file → TensorRT plan and its sidecar (builder.py); what a plan is without TensorRT (plan_header.py); running it.

The last goes checked_plan.py → loading.py → execution.py; runners/tensorrt_runner.py puts them together.
"""
