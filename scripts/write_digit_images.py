#!/usr/bin/env python
"""Write held-out digits as image files: what the shipped checkpoint has never seen. Needs scikit-learn.

Example: python scripts/write_digit_images.py digits --count 20
"""

from __future__ import annotations

import argparse
from pathlib import Path

from digits import load_split, write_images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outdir", type=Path, help="folder to write digit-<label>-<index>.png into")
    parser.add_argument("--count", type=_positive, help="how many, going round the classes (default: all)")
    parser.add_argument(
        "--scale",
        type=_positive,
        default=1,
        help="repeat every pixel N x N times, for looking at; the checkpoint was trained on 1 (default)",
    )
    arguments = parser.parse_args()
    _, held_out = load_split()
    scans = held_out if arguments.count is None else held_out.first(arguments.count)
    paths = write_images(scans, arguments.outdir, arguments.scale)
    print(f"wrote {len(paths)} images to {arguments.outdir}")


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


if __name__ == "__main__":
    main()
