"""The report folder and the model card: complete, self-contained, escaped, and without NaN."""

import json
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.evaluation.measure import evaluate_table
from mien.evaluation.result import Evaluation, write_metrics
from mien.metrics.about import DataRecord, SourceRecord
from mien.metrics.bootstrap import Sampling
from mien.metrics.predictions_table import Predictions
from mien.reports.card import CardFields, model_card
from mien.reports.gallery import galleries
from mien.reports.report import render, write_report

MakeUp = Callable[..., Predictions]
HOSTILE = '<script>alert("1")</script>.jpg'


class Page(HTMLParser):
    """Every address, script and picture of a report."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset", "data")]
        if tag == "img":
            self.pictures.append(dict(attrs))


def evaluated(predictions: Predictions) -> Evaluation:
    return evaluate_table(predictions, Sampling(resamples=30), "mien evaluate x")


def test_a_report_is_complete_self_contained_and_escaped(made_up: MakeUp, tmp_path: Path) -> None:
    predictions = made_up(120)
    predictions.frame["name"] = HOSTILE
    predictions = replace(predictions, about=replace(predictions.about, model="a <b>bold</b> & model"))
    metrics = evaluated(predictions)
    crops = np.random.default_rng(0).integers(0, 256, (120, 20, 20, 3), dtype=np.uint8)
    text = write_report(tmp_path, predictions, metrics, galleries(predictions, crops, 0)).read_text()
    page = Page(text)
    assert page.addresses
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not {"script", "b", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    assert all(picture.get("alt") for picture in page.pictures)
    assert "&lt;script&gt;" in text
    for name in ("age_predicted_true", "age_error_by_band", "age_coverage", "gender_confusion", "gender_roc",
                 "ethnicity_calibration", "groups_age_by_gender_x_ethnicity", "age_risk_coverage",
                 "gender_risk_coverage", "age_cumulative_score", "group_calibration_gender"):  # fmt: skip
        picture = cv2.imread(str(tmp_path / "figures" / f"{name}.png"))
        assert picture.min() < 100 < picture.max()  # neither blank nor black
    for words in ("CS@5", "balanced accuracy", "not for deciding", "n &lt; 30", "most confidently wrong"):
        assert words in " ".join(text.split()), words
    assert json.loads((tmp_path / "metrics.json").read_text()) == json.loads(json.dumps(metrics.to_json()))
    assert (tmp_path / "predictions.parquet").is_file()
    mae = metrics.tasks["age"].mae
    row = re.search(r"<td>age</td><td>MAE</td>(.*?)</tr>", text, re.DOTALL)
    assert row is not None
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row[1])
    assert cells == [f"{mae.value:.2f}", f"{mae.low:.2f} to {mae.high:.2f}", "120"]


@pytest.mark.parametrize(
    "change",
    [
        {"age_true": np.nan, "age_true_low": np.nan, "age_true_high": np.nan},
        {"gender_true": None},
        {"gender_true": "male"},
        {"gender_pred": None},
        {"age_true": np.nan, "age_true_low": 20.0, "age_true_high": 29.0},
        {"age_true": np.nan, "age_true_low": 18.0, "age_true_high": 32.0},
    ],
)
@pytest.mark.parametrize("n", [40, 1])
def test_degenerate_tables_still_make_a_report(
    made_up: MakeUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], n: int
) -> None:
    for slow in ("group_pictures", "group_calibration_pictures"):  # and drawn above
        monkeypatch.setattr(f"mien.reports.report.{slow}", lambda metrics: [])
    predictions = made_up(n)
    predictions = replace(predictions, frame=predictions.frame.assign(**change))
    metrics = evaluated(predictions)
    crops = np.zeros((n, 20, 20, 3), np.uint8)
    text = write_report(tmp_path, predictions, metrics, galleries(predictions, crops, 0)).read_text()
    assert "nan" not in re.sub(r"data:image/[^\"]*", "", text).lower().replace("finance", "")
    assert model_card(metrics, CardFields())


def test_an_empty_table_makes_a_report(made_up: MakeUp, tmp_path: Path) -> None:
    predictions = made_up(5)
    predictions = replace(predictions, frame=predictions.frame.iloc[:0])
    metrics = evaluated(predictions)
    text = write_report(tmp_path, predictions, metrics, ()).read_text()
    assert "Faces" not in re.findall(r"<h2[^>]*>(.*?)</h2>", text)  # no pictures, no grid
    assert metrics.n == 0
    assert metrics.tasks["age"].mae.reason == "no face has an exact label"


def test_nan_is_never_written(made_up: MakeUp, tmp_path: Path) -> None:
    evaluation = replace(evaluated(made_up(5)), training={"loss": float("nan")})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_metrics(tmp_path / "metrics.json", evaluation)
    assert not list(tmp_path.iterdir())


def test_figures_of_an_older_version_are_read_and_shown(made_up: MakeUp) -> None:
    """Without what was added since: curves, protocols, fairness and calibration by group."""
    metrics = evaluated(made_up(60))
    text = json.loads(json.dumps(metrics.to_json()))
    added = {"selective", "cumulative_scores", "protocols"}
    older = {key: value for key, value in text.items() if key not in ("fairness", "group_calibration")}
    older["tasks"] = {
        task: {key: value for key, value in figures.items() if key not in added}
        for task, figures in text["tasks"].items()
    }
    found = Evaluation.from_json(older)
    assert found.fairness is None
    assert found.tasks["age"].mae == Evaluation.from_json(text).tasks["age"].mae
    assert "worst-group" not in render(found, defaultdict(list), ())
    assert "worst-group" in render(metrics, defaultdict(list), ())


def test_the_same_table_gives_the_same_json(made_up: MakeUp) -> None:
    assert evaluated(made_up(100)) == evaluated(made_up(100))


def test_galleries_show_the_worst_mistakes_first(made_up: MakeUp) -> None:
    predictions = made_up(60)
    frame = predictions.frame
    frame["gender_true"] = "male"
    frame["gender_pred"] = "male"
    frame["gender_p_female"] = 0.3
    frame["gender_p_male"] = 0.7
    for row, chance in ((4, 0.99), (7, 0.8)):
        frame.loc[row, ["gender_pred", "gender_p_female", "gender_p_male"]] = ["female", chance, 1 - chance]
    frame.loc[9, ["gender_pred", "gender_p_female", "gender_p_male"]] = [
        None,
        0.6,
        0.4,
    ]  # abstained: no confident error
    crops = np.zeros((60, 16, 16, 3), np.uint8)
    grids = {grid.title: grid.faces for grid in galleries(predictions, crops, 0)}
    wrong = grids["gender: most confidently wrong"]
    assert [face.name for face in wrong] == ["4.jpg", "7.jpg"]
    assert ("gender", "male", "female 99 %", False) in wrong[0].lines
    right = next(faces for title, faces in grids.items() if title.startswith("Correct"))
    assert all(good for face in right for *_, good in face.lines)


def test_the_picture_of_a_face_keeps_its_colours(made_up: MakeUp) -> None:
    import base64

    crops = np.zeros((60, 16, 16, 3), np.uint8)
    crops[..., 0] = 200
    face = galleries(made_up(60), crops, 0)[0].faces[0]
    data = base64.b64decode(face.picture.partition(",")[2])
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture[..., 2].mean() > 190  # BGR: the red stays red
    assert picture[..., 0].mean() < 10


def test_the_card_tells_figures_licences_and_limits(made_up: MakeUp) -> None:
    predictions = made_up(400)
    sources = {
        "utkface": SourceRecord(faces=900, licence="non-commercial"),
        "fairface": SourceRecord(faces=9, licence="CC BY 4.0"),
        "own": SourceRecord(faces=1),
    }
    data = DataRecord(splits={"train": 800, "test": 400}, sources=sources)
    metrics = evaluated(replace(predictions, about=replace(predictions.about, data=data)))
    fields = CardFields(
        name="first|model\n# <x>", size=96, tasks=predictions.tasks, training={"recipe": "spine", "seed": 7}
    )
    card = model_card(metrics, fields)
    mae = metrics.tasks["age"].mae
    for words in ("utkface: non-commercial", "CC BY 4.0", "own: see its source", "train 800",
                  "96 x 96", "five-landmarks-37", "seed: 7",
                  f"| age | MAE | {mae.value:.2f} |", "apparent", "Not for identifying a person",
                  "gender x ethnicity", "mien evaluate x"):  # fmt: skip
        assert words in card, words
    assert card.startswith("# first\\|model # &lt;x&gt;\n")
    worst = next(each for each in metrics.fairness if (each.task, each.by) == ("gender", "ethnicity"))
    odds = f"{100 * worst.classes['female'].equalized_odds_difference.value:.1f} %"
    assert (
        f"| gender | ethnicity | {worst.worst}, {100 * worst.accuracy_score_group_min.value:.1f} % | {odds} |" in card
    )
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in card.splitlines() if line.startswith("| age |")}
    assert widths == {6, 7}  # headline rows and group rows, none broken


def test_the_card_says_where_intervals_rest_on_groups_alone(made_up: MakeUp) -> None:
    predictions = made_up()
    exact = model_card(evaluated(predictions), CardFields())
    predictions.frame["age_true_low"] -= 5
    predictions.frame["age_true"] = np.nan
    grouped = model_card(evaluated(predictions), CardFields())
    assert "No exact label of age" not in exact
    assert "No exact label of age" in grouped


def test_a_card_without_figures_is_still_a_card() -> None:
    assert "Not for identifying a person" in model_card(None, CardFields(name="untested"))
