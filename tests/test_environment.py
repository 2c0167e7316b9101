"""What is installed, and what that is enough for."""

import importlib.metadata

import pytest

from natdeploy import environment
from natdeploy.environment import JOBS, PACKAGES, examine, is_installed, require
from natdeploy.errors import EXIT_FAILED, MissingDependencyError
from natdeploy.ops import support


def finding(subject):
    (found,) = (one for one in examine() if one.subject == subject)
    return found


@pytest.fixture
def installed(monkeypatch):
    """Give a function that sets which versions seem installed, by distribution."""

    def pretend(**versions):
        names = {name.replace("_", "-"): version for name, version in versions.items()}

        def version(distribution):
            if distribution not in names:
                raise importlib.metadata.PackageNotFoundError(distribution)
            return names[distribution]

        monkeypatch.setattr(environment.importlib.metadata, "version", version)

    return pretend


def test_every_job_names_known_modules_and_an_extra_of_the_package():
    extras = set(importlib.metadata.metadata("natdeploy").get_all("Provides-Extra"))
    assert {job.extra for job in JOBS.values()} <= extras
    assert {module for job in JOBS.values() for module in job.modules} <= set(PACKAGES)


def test_two_onnx_runtimes_get_in_each_other_s_way(installed):
    installed(onnxruntime="1.20.0", onnxruntime_gpu="1.21.0")
    found = finding("ONNX Runtime")
    assert found.state == "problem"
    assert (
        found.detail
        == "onnxruntime 1.20.0 and onnxruntime-gpu 1.21.0 are both installed and overwrite each other's files"
    )
    assert found.advice.startswith("pip uninstall -y onnxruntime onnxruntime-gpu")
    installed(onnxruntime="1.20.0")
    assert not [one for one in examine() if one.subject == "ONNX Runtime"]


def test_what_is_too_old(installed):
    installed(onnxruntime="1.15.1")
    found = finding("running ONNX files")
    assert (found.state, found.detail) == ("problem", "onnxruntime 1.15.1; onnxruntime is older than 1.18")
    assert found.advice == "pip install -U 'natdeploy[cpu]'"
    installed(onnxruntime="1.18.0")
    assert finding("running ONNX files").state == "ok"


@pytest.mark.parametrize(
    "version, least, older",
    [
        ("2.13.0", "2.13", False),
        ("2.13", "2.13.0", True),
        ("2.12.9+cu118", "2.13", True),
        ("2.15.0.dev2026+cpu", "2.13", False),
        ("10.0", "9.9", False),
        ("1.18.0rc1", "1.18", False),
        ("1.0", "", False),
    ],
)
def test_versions_are_compared_as_numbers(version, least, older):
    assert environment._is_older(version, least) is older


def test_it_runs_from_a_source_tree_that_is_not_installed(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(environment.importlib.metadata, "requires", missing)
    assert environment._least_versions() == {}


def test_a_missing_job_is_refused_with_its_extra(monkeypatch):
    monkeypatch.setattr(environment, "is_installed", lambda module: module != "onnxscript")
    with pytest.raises(MissingDependencyError, match=r"'onnxscript'.*pip install 'natdeploy\[export\]'") as raised:
        require("export")
    assert raised.value.exit_status == EXIT_FAILED
    require("infer")
    assert finding("exporting and verifying against a checkpoint").detail == "not installed: onnxscript"


def test_looking_for_a_module_never_fails(monkeypatch):
    monkeypatch.setitem(environment.sys.modules, "half_broken", object())
    assert not is_installed("half_broken")
    assert not is_installed("no_such_package.inside")
    assert is_installed("json")


def test_forms_come_from_the_support_table(monkeypatch):
    refuse = support.Rule(lambda use: use.form == "hybrid", "for the test")
    monkeypatch.setattr(support, "RULES", (*support.RULES, refuse))
    assert finding("forms that ONNX Runtime takes").detail == "portable"
