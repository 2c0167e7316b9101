"""``python -m natdeploy`` is the ``natdeploy`` command."""

from natdeploy.cli import main

main()
