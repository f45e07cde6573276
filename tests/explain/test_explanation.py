"""An explanation of a tiny run: what it holds, what it writes, and what it says where there is nothing to show."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mien.errors import MienError, UsageError
from mien.explain.explanation import explain_run
from mien.explain.faces import faces_of_table
from mien.explain.report import write_explanation
from mien.explain.types import ExplainOptions, Explanation
from mien.tasks import AGE, GENDER
from mien.training.train import train
from tests.conftest import REPOSITORY
from tests.training.tiny import tiny_recipe, write_easy

PHOTO = REPOSITORY / "examples" / "eileen_collins.jpg"


@dataclass(frozen=True)
class Explained:
    run: Path
    data: Path
    out: Path
    explanation: Explanation
    numbers: dict[str, Any]


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Explained:
    """A run of one epoch, so that it still errs, and its explanation with two photos, one of them no photo."""
    root = tmp_path_factory.mktemp("explained")
    data = write_easy(root / "data", size=24)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mien.training.history.draw_curves", lambda rows: Figure(figsize=(1, 1)))
        train(tiny_recipe("stages=[{size: 24, epochs: 1}]"), data, root / "run")
    (root / "empty.jpg").write_bytes(b"")
    options = ExplainOptions(faces=3, photos=(str(PHOTO), str(root / "empty.jpg")))
    explanation = explain_run(root / "run", data, options, "mien explain run")
    numbers = write_explanation(root / "out", explanation)
    return Explained(run=root / "run", data=data, out=root / "out", explanation=explanation, numbers=numbers)


def test_the_files(explained: Explained) -> None:
    names = {path.relative_to(explained.out).as_posix() for path in explained.out.rglob("*") if path.is_file()}
    figures = ["gradcam_age", "gradcam_gender", "gradcam_ethnicity", "gradcam_misclassified", "clusters", "cluster_map"]
    assert names == {
        "explain.html", "explain.json", "error_clusters.csv",
        *(f"figures/{name}.png" for name in [*figures, "sanity", "sanity_correlations", "photos"]),
    }  # fmt: skip
    assert json.loads((explained.out / "explain.json").read_text()) == explained.numbers


def test_the_numbers_are_those_of_the_predictions(explained: Explained) -> None:
    frame = explained.explanation.subject.predictions.frame
    wrong = frame[frame["ethnicity_true"] != frame["ethnicity_pred"]]
    errors = explained.numbers["misclassified"]
    assert (errors["task"], errors["errors"], errors["n"]) == ("ethnicity", len(wrong), 16)
    assert 3 < len(wrong) < 16
    with (explained.out / "error_clusters.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["true"], row["predicted"]) for row in rows] == list(
        zip(wrong["name"], wrong["ethnicity_true"], wrong["ethnicity_pred"], strict=True)
    )
    for row, (_, told) in zip(rows, wrong.iterrows(), strict=True):
        assert float(row["probability"]) == pytest.approx(told[f"ethnicity_p_{row['predicted']}"], abs=1e-5)
    assert len(errors["clusters"]) == 3
    for cluster in errors["clusters"]:
        members = [row for row in rows if row["cluster"] == str(cluster["number"])]
        assert cluster["size"] == len(members) == sum(cluster["true"].values()) == sum(cluster["predicted"].values())
        assert set(cluster["nearest"]) <= {row["name"] for row in members}


def test_the_two_classes_of_lowest_recall_are_shown(explained: Explained) -> None:
    frame = explained.explanation.subject.predictions.frame
    right = frame["ethnicity_true"] == frame["ethnicity_pred"]
    recall = right.groupby(frame["ethnicity_true"]).mean()
    shown = list(explained.numbers["misclassified"]["classes"])
    assert len(shown) == 2
    assert max(recall[shown]) <= min(recall.drop(shown))
    for mistakes in explained.explanation.errors.classes if explained.explanation.errors else ():
        for face in mistakes.shown:
            assert face.of[1] == mistakes.label
            assert len(face.maps) == 2
            assert face.title.startswith(f"{mistakes.label} → {face.of[0]} ")


def test_the_maps_are_of_the_faces_named(explained: Explained) -> None:
    subject = explained.explanation.subject
    manifest = subject.dataset.manifest
    for part in explained.explanation.tasks:
        assert len(part.random) == 3
        assert {face.crop.shape for face in part.random} == {(24, 24, 3)}
        face = part.random[0]
        (row,) = np.flatnonzero(manifest["name"] == face.name)
        np.testing.assert_array_equal(face.crop, subject.dataset.crops[row])
        assert manifest["split"].iloc[row] == "test"
    assert len({tuple(face.name for face in part.random) for part in explained.explanation.tasks}) == 1


def test_the_worst_age_comes_first(explained: Explained) -> None:
    frame = explained.explanation.subject.predictions.frame
    exact = frame[frame["age_true"].notna()]
    error = (exact["age_pred"] - exact["age_true"]).abs()
    worst = explained.explanation.tasks[0].worst
    assert worst[0].name in set(frame["name"])
    if worst[0].name in set(exact["name"]):
        assert worst[0].name == exact["name"].iloc[int(error.argmax())]


def test_the_photos(explained: Explained) -> None:
    first, second = explained.numbers["photos"]
    assert (first["name"], first["status"], len(first["faces"])) == ("eileen_collins.jpg", "ok", 1)
    assert [text.split(" → ")[0] for text in first["faces"][0]] == ["age", "gender", "ethnicity"]
    assert (second["status"], second["faces"]) == ("unreadable", [])
    assert "empty" in second["reason"]


def test_the_check_and_the_layer(explained: Explained) -> None:
    assert set(explained.numbers["sanity"]) == {"age", "gender", "ethnicity"}
    for check in explained.numbers["sanity"].values():
        assert check["mirrored"]["n"] <= 16
        assert set(check["all_weights"]) >= {"value", "low", "high", "n"}
        assert check["depends_on_the_model"] in (True, False, None)
    layer = explained.numbers["layer"]
    assert min(layer["height"], layer["width"]) >= 6
    rows = {row["name"]: row for row in explained.numbers["architecture"]}
    assert rows[f"backbone.{layer['name']}"]["shape"][1:] == [layer["height"], layer["width"]]
    assert rows["heads.gender"]["shape"] == [2]
    total = rows["backbone"]["parameters"] + rows["heads"]["parameters"]
    assert explained.numbers["parameters"] == total


def test_the_page_asks_for_nothing(explained: Explained) -> None:
    page = (explained.out / "explain.html").read_text()
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert page.count("<img") == page.count('alt="') == 11  # nine figures, curves.png and augmented.png
    assert f"layer <code>{explained.numbers['layer']['name']}</code>" in page
    assert str(explained.run.parent) not in page


def change(data: Path, out: Path, **columns: Any) -> Path:
    """A copy of prepared data with other columns; a column of None goes, with its task."""
    shutil.copytree(data, out)
    manifest = pd.read_parquet(out / "manifest.parquet")
    info = json.loads((out / "dataset.json").read_text())
    for name, values in columns.items():
        if values is None:
            manifest = manifest.drop(columns=name)
            info["tasks"] = [task for task in info["tasks"] if task["name"] != name]
        else:
            manifest[name] = values
    manifest.to_parquet(out / "manifest.parquet")
    (out / "dataset.json").write_text(json.dumps({**info, "manifest_sha256": "cd" * 32}))
    return out


def test_data_without_a_task_of_the_run(explained: Explained, tmp_path: Path) -> None:
    data = change(explained.data, tmp_path / "data", ethnicity=None)
    with pytest.raises(UsageError, match=r"No face of the split 'test' .* is labelled for ethnicity"):
        explain_run(explained.run, data, ExplainOptions(task="ethnicity"), "")
    data = change(data, tmp_path / "none", gender=None)
    with pytest.raises(UsageError, match="--misclassified needs a nominal task with labels"):
        explain_run(explained.run, data, ExplainOptions(misclassified=("male",)), "")
    numbers = write_explanation(tmp_path / "out", explain_run(explained.run, data, ExplainOptions(faces=1), ""))
    assert numbers["misclassified"] is None
    assert all("→" in face["title"] for face in numbers["tasks"]["gender"]["random"])
    assert not numbers["tasks"]["gender"]["worst"]
    assert "No nominal task of the run is labelled" in (tmp_path / "out" / "explain.html").read_text()
    assert (tmp_path / "out" / "error_clusters.csv").read_text() == "name,true,predicted,probability,cluster\n"


def test_a_run_without_errors(explained: Explained, tmp_path: Path) -> None:
    subject = explained.explanation.subject
    labels = subject.dataset.manifest["ethnicity"].tolist()
    for row, said in zip(subject.rows, subject.predictions.frame["ethnicity_pred"], strict=True):
        labels[row] = said
    data = change(explained.data, tmp_path / "data", ethnicity=labels)
    numbers = write_explanation(tmp_path / "out", explain_run(explained.run, data, ExplainOptions(faces=1), ""))
    assert numbers["misclassified"]["errors"] == 0
    assert "No face of this task is misclassified" in (tmp_path / "out" / "explain.html").read_text()
    assert not (tmp_path / "out" / "figures" / "clusters.png").exists()


@pytest.mark.parametrize(("options", "message"), [
    ({"task": "age"}, "must be a nominal task"),
    ({"task": "race7"}, "Unknown task race7"),
    ({"misclassified": ("martian",)}, r"ethnicity \(white, black, asian, indian, other\), got martian"),
    ({"layer": "layer9"}, "no layer 'layer9'"),
    ({"split": "holiday"}, "holiday"),
    ({"limit": 0}, "1 or more"),
    ({"faces": 0}, "--faces must be 1 or more, got 0"),
    ({"clusters": 0}, "--clusters must be 1 or more"),
])  # fmt: skip
def test_wrong_options_are_one_sentence(explained: Explained, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        explain_run(explained.run, explained.data, ExplainOptions(**options), "")


def test_a_run_without_weights(explained: Explained, tmp_path: Path) -> None:
    for name in ("recipe.yaml", "tasks.json"):
        shutil.copy(explained.run / name, tmp_path)
    with pytest.raises(MienError, match="no trained weights yet"):
        explain_run(tmp_path, explained.data, ExplainOptions(), "")


def test_titles_and_badness() -> None:
    frame = pd.DataFrame(
        {
            "age_true": [30.0, None, None],
            "age_true_low": [30.0, 20, None],
            "age_true_high": [30.0, 29, None],
            "age_pred": [36.0, 33.0, 50.0],
            "age_low": [30.0, 30, 40],
            "age_high": [40.0, 40, 60],
            "gender_true": ["male", "female", None],
            "gender_pred": ["female", "female", "male"],
            "gender_p_male": [0.2, 0.1, 0.9],
            "gender_p_female": [0.8, 0.9, 0.1],
        }
    )
    age, gender = faces_of_table(frame, AGE), faces_of_table(frame, GENDER)
    assert age.titles == ("30 → 36", "20–29 → 33", "→ 50")
    assert age.badness.tolist() == [6, 0, 0]  # 4 beyond the interval counts as right
    assert gender.titles == ("male → female 80 %", "female → female 90 %", "→ male 90 %")
    assert gender.badness.tolist() == [0.8, 0, 0]
    assert gender.worst(5).tolist() == [0]
