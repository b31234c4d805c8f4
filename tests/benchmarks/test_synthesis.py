"""A student learns from synthesized data what its teacher knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.synthesis import measure, own_server, show


@pytest.mark.train
@pytest.mark.counted
@pytest.mark.timeout(7200)
def test_a_student_of_synthesized_data_finds_more(tmp_path: Path, scaled: Callable[[int], int]) -> None:
    """In full: three seeds, each student far better than before any tuning; else that the whole way can be gone."""
    steps, seeds = scaled(40), scaled(3)
    is_full = steps == 40
    with own_server(tmp_path):
        measured = [
            measure(tmp_path / f"seed-{seed}", seed=seed, steps=steps, test_queries=None if is_full else 20)
            for seed in range(seeds)
        ]
    show(measured)
    for one in measured:
        assert one.rows >= 64 * steps
        assert one.after != one.before
        if is_full:
            assert one.gain >= 0.1
            assert one.after["reciprocal_rank"] > one.before["reciprocal_rank"] + 0.1
