"""Retrieval metrics of ranked results, by pytrec_eval; what it lacks (F1 and DCG at k) by hand.

A query with nothing relevant in the index counts as 0 in every mean.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytrec_eval

Ranking = npt.NDArray[np.int64]
Relevant = npt.NDArray[np.int64]


def ranking_metrics(ranked: list[Ranking], relevant: list[Relevant], k: int) -> dict[str, npt.NDArray[np.float64]]:
    """Measure the results of some queries.

    Args:
        ranked: For each query the documents found, best first; at least k and as many as are relevant, where there
            are so many, and none twice.
        relevant: For each query the documents that are relevant.
        k: How many results count, for all but `r_precision`.

    Returns:
        For each of METRIC_NAMES one value a query.
    """
    run = {
        str(query): {str(document): -float(rank) for rank, document in enumerate(documents)}
        for query, documents in enumerate(ranked)
    }
    truth = {str(query): {str(document): 1 for document in documents} for query, documents in enumerate(relevant)}
    measures = {f"P.{k}", "recall.1", f"recall.{k}", f"success.{k}", f"map_cut.{k}", "recip_rank", "Rprec"}
    evaluator = pytrec_eval.RelevanceEvaluator(truth, measures | {f"ndcg_cut.{k}"})
    found: Mapping[str, Mapping[str, float]] = evaluator.evaluate(run)

    def values(name: str) -> npt.NDArray[np.float64]:
        return np.array([found.get(str(query), {}).get(name, 0.0) for query in range(len(ranked))])

    precision, recall, reciprocal = values(f"P_{k}"), values(f"recall_{k}"), values("recip_rank")
    return {
        "precision_at_k": precision,
        "recall_at_k": recall,
        "f1_score_at_k": 2 * precision * recall / np.where(precision + recall > 0, precision + recall, 1),
        "hit_at_k": values(f"success_{k}"),
        "average_precision": values(f"map_cut_{k}"),
        "reciprocal_rank": np.where(reciprocal > 1 / (k + 0.5), reciprocal, 0.0),
        "r_precision": values("Rprec"),
        "dcg_at_k": np.array([_dcg(*one, k) for one in zip(ranked, relevant, strict=True)]),
        "ndcg_at_k": values(f"ndcg_cut_{k}"),
        "recall_at_1": values("recall_1"),
    }


def _dcg(ranked: Ranking, relevant: Relevant, k: int) -> float:
    gains = np.isin(ranked[:k], relevant).astype(np.float64)
    return float(np.sum(gains / np.log2(np.arange(2, len(gains) + 2))))
