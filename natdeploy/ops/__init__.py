"""The operator: one declaration (spec), a slow reference, a torch op, an ONNX function and its portable lowering."""
