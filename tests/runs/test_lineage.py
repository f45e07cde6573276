"""The trainings before a model's own: each told once, however many ways lead to it."""

from __future__ import annotations

import json
from typing import Any

from mien.reports.card import CardFields, model_card
from mien.runs.lineage import deduplicated, earlier_trainings


def record(run: str, **earlier: object) -> dict[str, Any]:
    """What a run that was learned from is recorded as."""
    about = {"run": run, "seed": 0, "commit": "c" * 40, "command": f"mien train {run}", "epochs": 3}
    return {**about, "weights_sha256": run.ljust(64, "0"), "licences": {"utkface": "free"}, **earlier}


def generations(count: int) -> dict[str, Any]:
    """A run that began with, and was taught by, the one before it, which had done so too."""
    last = record("g0", started_from=None, teachers=[])
    for number in range(1, count):
        last = record(f"g{number}", started_from=last, teachers=[last])
    return last


def test_each_earlier_training_is_told_once_in_its_order() -> None:
    whole = generations(8)
    once = deduplicated(whole)
    assert len(json.dumps(whole)) > 10 * len(json.dumps(once))
    for told in (whole, once):
        assert [run["run"] for run in earlier_trainings(told)] == [f"g{number}" for number in range(7)]
    assert deduplicated(once) == once
    # Where it comes again, it says which one it is, and under which terms.
    assert once["started_from"]["command"] == "mien train g6"
    again = once["teachers"][0]
    assert again["weights_sha256"] == once["started_from"]["weights_sha256"]
    assert again["licences"] == {"utkface": "free"}
    assert not {"command", "started_from", "teachers"} & set(again)


def test_runs_whose_weights_are_not_known_are_not_taken_for_one_another() -> None:
    anonymous = {"run": "a", "command": "mien train a"}
    other = {"run": "b", "command": "mien train b"}
    training = {"command": "mien train c", "started_from": anonymous, "teachers": [other, anonymous]}
    assert deduplicated(training) == training
    assert [run["run"] for run in earlier_trainings(training)] == ["a", "b"]
    assert earlier_trainings({}) == []


def test_the_card_lists_each_earlier_training_once() -> None:
    training = {key: value for key, value in generations(5).items() if key != "licences"}
    card = model_card(None, CardFields(training=training))
    assert "- started from: g3 `g3000000`\n- teachers: g3 `g3000000`\n" in card
    for number in range(4):
        assert card.count(f"`mien train g{number}`") == 1
    assert (
        "- g1 `g1000000` (epochs 3, seed 0, commit " + "c" * 40 + ", fine-tuned from g0 `g0000000`, distilled from g0"
        in card
    )
    assert "Trainings before it" not in model_card(None, CardFields(training={"recipe": "first", "seed": 0}))
