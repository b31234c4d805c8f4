from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from finetuner.api import catalog
from finetuner.errors import InvalidInput
from finetuner.job.worker.schedulers import make_schedule

STEPS, EPOCHS = 20, 4
STAYS = {"constant"}
CEILINGS = {"greedy": 10.0}
"""The rate goes above the one it began with in these alone."""
NEEDED: dict[str, dict[str, Any]] = {
    "cosine_with_min_lr": {"min_lr": 0.01},
    "cosine_warmup_with_min_lr": {"min_lr": 0.01},
    "warmup_stable_decay": {"num_decay_steps": 5},
    "constant_with_warmup": {"num_warmup_steps": 3},
    "reduce_lr_on_plateau": {"patience": 0},
    "greedy": {"patience": 0, "scheduler_step": "batch"},
}


def _rates(name: str | None, losses: Any = None, *, groups: int = 1, **options: Any) -> list[float]:
    parts = [{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(groups)]
    optimizer = torch.optim.SGD(parts, lr=0.1)
    values = iter(losses or itertools.repeat(1.0))
    made = make_schedule(optimizer, name, options, steps=STEPS, epochs=EPOCHS, loss=lambda: next(values))
    seen = []
    for _ in range(STEPS):
        optimizer.step()
        (rate, *others) = made.get_last_lr()
        assert all(other == rate for other in others)
        seen.append(rate)
        made.step()
    return seen


@pytest.mark.parametrize("name", catalog.offered("scheduler"))
def test_every_scheduler_moves_the_rate_as_its_kind_does(name: str) -> None:
    seen = _rates(name, groups=2, **NEEDED.get(name, {}))
    assert all(0 <= rate <= CEILINGS.get(name, 0.1) + 1e-9 for rate in seen)
    assert (len(set(seen)) > 1) == (name not in STAYS), seen


@pytest.mark.parametrize("name", catalog.offered("scheduler"))
def test_every_scheduler_is_made_with_all_its_defaults(name: str) -> None:
    entry = catalog.find("scheduler", name)
    given = {key: value for key, value in entry.defaults().items() if value is not None}
    if "num_warmup_steps" in given:
        given["num_warmup_steps"] = 4
    seen = _rates(name, **{**given, **NEEDED.get(name, {})})
    if "num_warmup_steps" in given and "num_warmup_steps" not in NEEDED.get(name, {}):
        assert seen[0] < max(seen[3:5]) == max(seen)


def test_without_one_the_rate_stays() -> None:
    assert set(_rates(None)) == {0.1}


def test_linear_ends_near_nothing_after_its_warmup() -> None:
    seen = _rates("linear", num_warmup_steps=5)
    assert seen[:6] == pytest.approx([0, 0.02, 0.04, 0.06, 0.08, 0.1])
    assert seen[-1] == pytest.approx(0.1 / 15)


def test_a_share_of_the_steps_is_the_warmup() -> None:
    assert _rates("linear", warmup_ratio=0.25) == _rates("linear", num_warmup_steps=5)


def test_by_epoch_it_moves_with_the_last_step_of_each() -> None:
    seen = _rates("linear", scheduler_step="epoch")
    assert seen == pytest.approx([0.1] * 5 + [0.075] * 5 + [0.05] * 5 + [0.025] * 5)


def test_options_reach_the_library() -> None:
    assert _rates("polynomial", power=2.0)[10] == pytest.approx(0.025, abs=1e-6)
    restarted = _rates("cosine_with_restarts", num_cycles=2)
    assert restarted[10] == pytest.approx(0.1)
    assert min(_rates("cosine_with_min_lr", min_lr=0.03)) >= 0.03


def test_a_plateau_is_told_by_the_mean_loss_of_an_epoch() -> None:
    falling = [1.0 / (step // 5 + 1) + (0.3 if step % 5 else 0.0) for step in range(STEPS)]
    options: dict[str, Any] = {"patience": 0, "factor": 0.5}
    assert set(_rates("reduce_lr_on_plateau", falling, **options)) == {0.1}
    stuck = _rates("reduce_lr_on_plateau", [1.0] * STEPS, **options)
    assert stuck == pytest.approx([0.1] * 10 + [0.05] * 5 + [0.025] * 5)


def test_a_schedule_goes_on_from_its_state() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    made = [
        make_schedule(optimizer, "linear", {"scheduler_step": "epoch"}, steps=STEPS, epochs=EPOCHS, loss=lambda: 1.0)
        for _ in range(2)
    ]
    for _ in range(7):
        made[0].step()
    made[1].load_state_dict(made[0].state_dict())
    assert made[1].state_dict() == made[0].state_dict()
    for _ in range(3):
        made[1].step()
    assert made[1].get_last_lr() == pytest.approx([0.05])


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("linear", {"power": 2.0}, "has no option 'power'"),
        ("liner", {}, "Near: 'linear'"),
        ("polynomial", {"lr_end": 5.0}, "refuses its options"),
        ("reduce_lr_on_plateau", {"factor": 2.0}, "refuses its options"),
    ],
)
def test_what_cannot_be_made_is_refused(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        _rates(name, **options)
