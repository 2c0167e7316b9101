"""Half precision: what stays float32 and why (policy.py), the typed graph (convert.py), its numbers (check.py)."""
