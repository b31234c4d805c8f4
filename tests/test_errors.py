"""Each error is raised by a test: through a real server, or by the real fault of this machine."""

from __future__ import annotations

import ast
import inspect
from typing import Final

import pytest

from finetuner import errors
from tests.docs.blocks import ROOT

BOTH_FACES: Final = "tests/behaviours/aio/test_errors.py"
"""Its twin in `tests/behaviours/sync` is made of it."""
ANSWERS: Final = "tests/aio/test_answers.py"
RAISED: Final = {
    errors.FinetunerError: (BOTH_FACES, "test_a_family_is_caught_by_its_name"),
    errors.InvalidInput: (BOTH_FACES, "test_refused_arguments"),
    errors.InvalidName: (BOTH_FACES, "test_refused_arguments"),
    errors.InvalidData: (BOTH_FACES, "test_refused_arguments"),
    errors.ModelNotSupported: (BOTH_FACES, "test_refused_arguments"),
    errors.NotFound: (BOTH_FACES, "test_a_family_is_caught_by_its_name"),
    errors.RunNotFound: (BOTH_FACES, "test_what_is_not_there"),
    errors.ExperimentNotFound: (BOTH_FACES, "test_what_is_not_there"),
    errors.ArtifactNotFound: (BOTH_FACES, "test_what_is_not_there"),
    errors.DataNotFound: (ANSWERS, "test_a_data_set_that_is_not_there_has_near_names"),
    errors.Conflict: (BOTH_FACES, "test_a_name_that_is_taken"),
    errors.RunInProgress: (BOTH_FACES, "test_a_run_that_has_not_ended"),
    errors.RunFailed: (BOTH_FACES, "test_a_run_that_failed"),
    errors.RunDeleted: (BOTH_FACES, "test_a_run_that_has_not_ended"),
    errors.WaitTimeout: (BOTH_FACES, "test_a_run_that_has_not_ended"),
    errors.NotLoaded: (BOTH_FACES, "test_a_run_listed_without_its_config"),
    errors.LogTooLarge: (BOTH_FACES, "test_a_log_that_is_too_large_or_too_short"),
    errors.LogTruncated: (BOTH_FACES, "test_a_log_that_is_too_large_or_too_short"),
    errors.ArtifactExists: (BOTH_FACES, "test_an_artifact_that_cannot_be_saved"),
    errors.ArtifactCorrupt: (BOTH_FACES, "test_an_artifact_that_cannot_be_saved"),
    errors.MissingExtra: (BOTH_FACES, "test_an_embedded_server_that_cannot_be_used"),
    errors.NotLoggedIn: (BOTH_FACES, "test_a_client_without_a_token"),
    errors.NotAllowed: (ANSWERS, "test_what_is_an_admins_alone_is_refused_to_another_user"),
    errors.ServerError: (BOTH_FACES, "test_a_server_with_a_fault"),
    errors.ServerUnavailable: (BOTH_FACES, "test_an_answer_that_is_lost_carries_the_key_of_its_run"),
    errors.ServerStartFailed: (BOTH_FACES, "test_an_embedded_server_that_cannot_be_used"),
    errors.ServerTooOld: (BOTH_FACES, "test_an_embedded_server_that_cannot_be_used"),
    errors.RateLimited: (BOTH_FACES, "test_an_answer_of_a_stranger"),
    errors.StorageFull: (BOTH_FACES, "test_an_artifact_that_cannot_be_saved"),
    errors.StateCorrupt: (BOTH_FACES, "test_an_embedded_server_that_cannot_be_used"),
    errors.BadResponse: (BOTH_FACES, "test_an_answer_of_a_stranger"),
}
"""The test that raises each class and looks at it; no member of a family stands for the family but where it says so."""


def test_every_error_is_raised_by_a_test() -> None:
    known = {kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)}
    assert set(RAISED) == known


@pytest.mark.parametrize("kind", RAISED, ids=lambda kind: kind.__name__)
def test_the_test_of_an_error_raises_it(kind: type[errors.FinetunerError]) -> None:
    path, name = RAISED[kind]
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    (test,) = [one for one in tree.body if isinstance(one, ast.AsyncFunctionDef) and one.name == name]
    source = ast.unparse(test)
    is_family = name == "test_a_family_is_caught_by_its_name"
    assert (f"errors.{kind.__name__}" if is_family else f"pytest.raises(errors.{kind.__name__}") in source
