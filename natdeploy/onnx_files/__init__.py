"""ONNX files: made (export.py), changed in form (lower.py), described (metadata.py), written (files.py)."""
