"""plugins/examples/README.md names the files and options that there are."""

import re

from plugins.example_build import EXAMPLES

README = (EXAMPLES / "README.md").read_text("utf-8")


def test_every_file_is_named():
    named = set(re.findall(r"`([a-z_]+\.(?:cpp|h))`", README))
    for stem in re.findall(r"`([a-z_]+)\.h`, `\.cpp`", README):
        named.add(f"{stem}.cpp")
    assert named == {path.name for path in EXAMPLES.iterdir() if path.suffix in (".h", ".cpp")}


def test_every_option_is_one_of_the_project_and_the_other_way_round():
    project = (EXAMPLES / "CMakeLists.txt").read_text("utf-8")
    named = set(re.findall(r"-D([A-Z_]+)=", README)) - {"CMAKE_PREFIX_PATH"}
    of_project = set(re.findall(r"^set\(([A-Z_]+) .* CACHE ", project, re.MULTILINE))
    found = set(re.findall(r"^\s*find_(?:path|library)\(([A-Z_]+)", project, re.MULTILINE))
    assert of_project <= named <= of_project | found
