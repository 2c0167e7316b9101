"""Hugging Face's own NAT and DiNAT code on today's PyTorch, with no NATTEN 0.17 to build (docs/compat.md).

That code needs two functions that NATTEN dropped in 0.20. :func:`install` puts plain torch versions of them where it
looks for them.
"""

from __future__ import annotations

from natdeploy.compat.stand_in import install as install
from natdeploy.compat.stand_in import natten_has_the_functions as natten_has_the_functions
