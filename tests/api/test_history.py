from __future__ import annotations

from typing import Any

from finetuner.api.history import Point, points


def test_values_before_and_between_are_points() -> None:
    events: list[dict[str, Any]] = [
        {"kind": "progress", "step": 1, "loss": 0.5},
        {"kind": "metrics", "stage": "before", "values": {"recall_at_1": 0.25}},
        {"kind": "metrics", "stage": "during", "step": 3, "epoch": 1, "values": {"train_loss": 0.5, "recall_at_1": 1}},
        {"kind": "metrics", "stage": "after", "values": {"recall_at_1": 0.75}},
    ]
    assert list(points(events)) == [
        Point("recall_at_1", 0, 0.25),
        Point("train_loss", 3, 0.5),
        Point("recall_at_1", 3, 1.0),
    ]


def test_what_makes_no_sense_is_left_out() -> None:
    events: list[dict[str, Any]] = [
        {"kind": "metrics", "stage": "during", "values": {"a": 1.0}},
        {"kind": "metrics", "stage": "during", "step": "3", "values": {"a": 1.0}},
        {"kind": "metrics", "stage": "during", "step": True, "values": {"a": 1.0}},
        {"kind": "metrics", "stage": "during", "step": 3, "values": [1.0]},
        {"kind": "metrics", "stage": "during", "step": 3, "values": {"a": None, "b": "x", "c": False}},
        {"kind": "metrics", "stage": ["before"], "values": {"a": 1.0}},
        {"stage": "before", "values": {"a": 1.0}},
        {},
    ]
    assert not list(points(events))
