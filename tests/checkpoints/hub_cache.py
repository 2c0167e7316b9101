"""A local cache as huggingface_hub keeps it, so that hub ids can be read without a network."""

import os
import shutil

HUB_ID = "shi-labs/nat-mini-in1k-224"
REVISION = "0123456789abcdef0123456789abcdef01234567"


def cache_with(hub_cache, files):
    """The layout that huggingface_hub keeps: blobs by hash, snapshots of links to them, refs by branch."""
    repository = hub_cache / f"models--{HUB_ID.replace('/', '--')}"
    snapshot, blobs = repository / "snapshots" / REVISION, repository / "blobs"
    for directory in (snapshot, blobs, repository / "refs"):
        directory.mkdir(parents=True)
    (repository / "refs" / "main").write_text(REVISION)
    for number, (name, content) in enumerate(files.items()):
        blob = blobs / f"{number:040}"
        shutil.copy(content, blob)
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot
