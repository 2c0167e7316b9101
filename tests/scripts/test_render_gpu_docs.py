"""docs/gpu/README.md is what the files beside it say; what never ran is not claimed."""

import json
import sys
from pathlib import Path

import pytest
from side_environments import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

import render_gpu_docs
from gpu_checks.result import Record, StepResult

ROW = {"workload": "nat_mini stage 1", "batch": 128, "dtype": "float16", "tactic": "whole_map", "us": 81.26}
ROW |= {"floor_us": 61.31, "floor_ratio": 0.754, "predicted_us": [72.4, 161.5]}


def test_the_page_is_not_stale():
    assert (render_gpu_docs.FOLDER / "README.md").read_text() == render_gpu_docs.page()


def test_without_results_the_page_says_so(tmp_path: Path):
    assert "**Never run on a GPU.**" in render_gpu_docs.page(tmp_path)
    assert "Predicted" not in render_gpu_docs.page(tmp_path)


def test_the_shipped_prediction_is_shown_as_a_prediction(tmp_path: Path):
    (tmp_path / "prediction.json").write_bytes((render_gpu_docs.FOLDER / "prediction.json").read_bytes())
    page = render_gpu_docs.page(tmp_path)
    assert "**Never run on a GPU.**" in page and "## Predicted, not measured" in page
    report = json.loads((tmp_path / "prediction.json").read_text())
    for architecture in report["architectures"]:
        for row in architecture["launches"]:
            assert f"| {row['workload']} | {row['tactic']} | {row['binding']} | {row['floor_us']:.1f} |" in page


@pytest.fixture
def measured(tmp_path: Path, monkeypatch) -> str:
    monkeypatch.setenv("NATDEPLOY_COMMIT", "0123abc")
    record = Record(tmp_path, {"name": "NVIDIA Test 9000", "torch": "9.9", "cuda": "13.0"}, {"kernel_version": 7})
    record.keep("numbers", StepResult("4 uses checked", ["tensor_core | case: error 1"]).as_json(12.0))
    record.keep("times", StepResult("1 time", figures={"copy_bandwidth": 3.35e12, "rows": [ROW]}).as_json(9.0))
    without = {
        **ROW,
        "tactic": "flex attention",
        "us": None,
        "floor_us": None,
        "floor_ratio": None,
        "predicted_us": None,
    }
    record.keep("first-look", StepResult("", figures={"copy_bandwidth": 3e12, "rows": [without]}).as_json(1.0))
    return render_gpu_docs.page(tmp_path)


def test_results_are_shown_with_their_gpu_date_and_commit(measured: str):
    assert "Never run" not in measured
    assert "## NVIDIA Test 9000, 2" in measured and "commit 0123abc" in measured and "kernels 7" in measured
    assert "| numbers | failed | 4 uses checked | 12 |" in measured
    assert "* tensor_core | case: error 1" in measured
    assert "| nat_mini stage 1 | 128 | float16 | whole_map | 81.3 | 61.3 | 0.75 | 72 to 162 |" in measured
    assert "| flex attention | - | - | - | - |" in measured
    assert "3.35 TB/s" in measured


def test_cells_cannot_break_a_table():
    assert render_gpu_docs.table(["a"], [["x|y\nz"]]).splitlines()[2] == "| x\\|y z |"
