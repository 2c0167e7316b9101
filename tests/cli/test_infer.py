"""``natdeploy infer``: real images, every option."""

import pytest
from command_line import (
    DIGITS,
    IMAGES,
    digits_onnx,
    dynamic_onnx,
    edit_metadata,
    edited,
    portable_onnx,
    run,
    two_outputs_onnx,
)


def digit_of(path: str) -> str:
    return path.rsplit("digit-", 1)[1][0]


@pytest.mark.parametrize("file", [digits_onnx, portable_onnx], ids=["hybrid", "portable"])
def test_held_out_digits_are_read(file):
    result = run("infer", file(), *IMAGES, "--top", "1", "--json")
    assert result.status == 0
    assert [one["image"] for one in result.json] == [str(path) for path in IMAGES]
    for one in result.json:
        (guess,) = one["guesses"]
        assert str(guess["index"]) == digit_of(one["image"])
        assert 0.3 < guess["probability"] <= 1


def test_the_table_has_one_row_per_guess():
    result = run("infer", digits_onnx(), *IMAGES[:2], "--top", "3")
    header, *rows = result.out.splitlines()
    assert header.split() == ["image", "rank", "label", "probability"]
    assert [row.split()[-4] for row in rows] == ["1", "2", "3"] * 2
    assert [row.startswith(str(image)) for image in IMAGES[:2] for row in rows] == [True] + [False] * 5 + [
        False, False, False, True, False, False]  # fmt: skip
    assert all(row == row.rstrip() and row.endswith(" %") for row in rows)
    shares = [float(row.split()[-2]) for row in rows]
    assert shares[:3] == sorted(shares[:3], reverse=True)
    assert "classifying 2 images …" in result.err


def test_all_classes_add_up_and_there_are_no_more():
    (one,) = run("infer", digits_onnx(), IMAGES[3], "--top", "99", "--json").json
    assert sorted(guess["index"] for guess in one["guesses"]) == list(range(10))
    assert sum(guess["probability"] for guess in one["guesses"]) == pytest.approx(1)


@pytest.mark.parametrize("file", [dynamic_onnx, two_outputs_onnx], ids=["40 to 72, batch 3", "40x32"])
def test_sizes_other_than_the_trained_one_bring_their_recipe(file):
    result = run("infer", file(), IMAGES[0], "--json")
    assert result.status == 0
    assert len(result.json[0]["guesses"]) == 5


def test_without_labels_classes_have_numbers(tmp_path):
    bare = edited(
        digits_onnx(),
        tmp_path / "m.onnx",
        lambda model: edit_metadata(model, lambda document: document.update(labels=[])),
    )
    (one,) = run("infer", bare, DIGITS / "images" / IMAGES[0].name, "--json").json
    assert one["guesses"][0]["label"] == "class 0"
