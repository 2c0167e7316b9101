"""install(): each test is a fresh interpreter, because what is installed stays installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WITHOUT_NATTEN = """
import sys
class NoNatten:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "natten":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NoNatten())
"""


def run(code: str, *first_on_path: Path) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*first_on_path, ROOT]))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def package(directory: Path, **modules: str) -> Path:
    """Write modules, ``a__b="code"`` as ``a/b.py``, in packages."""
    for name, code in modules.items():
        path = directory.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
        for parent in path.relative_to(directory).parents[:-1]:
            (directory / parent / "__init__.py").touch()
    return directory


def test_without_natten_the_module_holds_just_the_two_functions():
    found = run(
        WITHOUT_NATTEN
        + """
import importlib.util
import natdeploy.compat
natdeploy.compat.install()
natdeploy.compat.install()  # again does nothing
assert importlib.util.find_spec("natten") is not None
import natten.functional
from natten.functional import natten2dav, natten2dqkrpb
print(natten2dav.__module__, natten2dqkrpb.__module__)
print([name for name in vars(natten.functional) if not name.startswith("_")])
"""
    )
    assert found.splitlines() == [
        "natdeploy.compat.natten_functions natdeploy.compat.natten_functions",
        "['natten2dqkrpb', 'natten2dav']",
    ]


def test_a_natten_that_dropped_the_functions_keeps_what_it_has(tmp_path: Path):
    path = package(tmp_path, natten__functional="def na2d(): return 'its own'")
    found = run(
        """
import natdeploy.compat
natdeploy.compat.install()
from natten.functional import na2d, natten2dav
print(na2d(), natten2dav.__module__, natdeploy.compat.natten_has_the_functions())
""",
        path,
    )
    assert found == "its own natdeploy.compat.natten_functions False"


def test_natten_0_21_keeps_what_it_has():
    pytest.importorskip("natten", minversion="0.21", reason="NATTEN 0.21 is not installed (extra 'natten')")
    found = run("""
import natten
before = {name: getattr(natten.functional, name) for name in dir(natten.functional)}
import natdeploy.compat
natdeploy.compat.install()
after = {name: getattr(natten.functional, name) for name in dir(natten.functional)}
assert all(after[name] is value for name, value in before.items())
print(sorted(after.keys() - before.keys()))
""")
    assert found == "['natten2dav', 'natten2dqkrpb']"


def test_a_natten_that_has_the_functions_is_not_shadowed(tmp_path: Path):
    path = package(tmp_path, natten__functional="def natten2dav(): return 'its own'\nnatten2dqkrpb = natten2dav")
    (path / "natten" / "__init__.py").write_text("__version__ = '0.17.5'")
    found = run(
        """
import natdeploy.compat
from natdeploy.errors import NatdeployError
print(natdeploy.compat.natten_has_the_functions())
try:
    natdeploy.compat.install()
except NatdeployError as error:
    print(error)
from natten.functional import natten2dav
print(natten2dav())
""",
        path,
    )
    assert found.splitlines() == [
        "True",
        "natdeploy.compat.install() would replace working functions. Got: natten 0.17.5, which has natten2dqkrpb and "
        "natten2dav itself. Leave the call out: Hugging Face's code runs with that natten.",
        "its own",
    ]


@pytest.mark.parametrize("failure", ["ImportError('undefined symbol')", "OSError('libtorch.so')"])
def test_a_natten_that_does_not_load_is_replaced(tmp_path: Path, failure: str):
    path = package(tmp_path, natten__functional="")
    (path / "natten" / "__init__.py").write_text(f"raise {failure}")
    found = run(
        """
import natdeploy.compat
natdeploy.compat.install()
from natten.functional import natten2dav
print(natten2dav.__module__)
""",
        path,
    )
    assert found == "natdeploy.compat.natten_functions"


# How transformers asks for natten: 4.x once, on import; 5.x when it needs to know, and then it remembers.
ASKS_ON_IMPORT = "_natten_available = False\ndef is_natten_available(): return _natten_available\n"
ASKS_AND_REMEMBERS = """
import functools, importlib.util
@functools.lru_cache
def is_natten_available():
    try:
        return importlib.util.find_spec("natten") is not None
    except ModuleNotFoundError:
        return False
"""
MODELING = """
def natten2dqkrpb(): raise RuntimeError("natten was missing")
natten2dav = natten2dqkrpb
"""


@pytest.mark.parametrize("checks", [ASKS_ON_IMPORT, ASKS_AND_REMEMBERS], ids=["4.x", "5.x"])
@pytest.mark.parametrize("imported_first", [False, True])
def test_transformers_learns_of_it(tmp_path: Path, checks: str, imported_first: bool):
    path = package(tmp_path, transformers__utils__import_utils=checks, transformers__models__nat__modeling_nat=MODELING)
    use = """
from transformers.utils.import_utils import is_natten_available
import transformers.models.nat.modeling_nat as modeling
assert not is_natten_available()
"""
    found = run(
        WITHOUT_NATTEN
        + (use if imported_first else "")
        + """
import natdeploy.compat
natdeploy.compat.install()
from transformers.utils.import_utils import is_natten_available
print(is_natten_available())
"""
        + ("print(modeling.natten2dav.__module__)" if imported_first else ""),
        path,
    )
    assert found.split() == ["True"] + ["natdeploy.compat.natten_functions"] * imported_first


def test_importing_compat_imports_no_torch():
    assert run("import sys, natdeploy.compat; print('torch' in sys.modules)") == "False"
