"""Models that are folders of the server's machine: the embedded server's user has them all, others what is allowed."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from finetuner.errors import InvalidInput
from finetuner.server.settings import Settings, models_dirs
from finetuner.server.store import users
from tests.server.serving import run_body, serving, starting_nothing

pytestmark = pytest.mark.anyio


def _synthesis(miner: str, cross_encoder: str | None = None) -> dict[str, object]:
    data = {"query_data": "texts", "corpus_data": "texts"}
    return {
        "task": "generation",
        "device": "cpu",
        "config": {"data": data, "models": {"relation_miner": [miner], "cross_encoder": cross_encoder}},
    }


async def test_a_team_server_takes_the_folders_that_its_operator_allows_and_no_other(
    settings: Settings, tmp_path: Path
) -> None:
    allowed, secret = tmp_path / "models", tmp_path / "secret"
    for folder in (allowed / "mine", secret):
        folder.mkdir(parents=True)
    (allowed / "out").symlink_to(secret)
    team = attrs.evolve(starting_nothing(settings), embedded=False, token=None, models_dirs=models_dirs([str(allowed)]))
    async with serving(team) as service:
        client = await service.other()
        await client.dataset()
        taken = await client.submit(run_body(model={"name": str(allowed / "mine")}))
        assert taken.status == 201, taken
        for name in (str(secret), f"{allowed}/../secret", str(allowed / "out"), "./secret", "~/models", "/etc"):
            answer = await client.submit(run_body(model={"name": name}))
            assert (answer.status, answer.json["errors"][0]["path"]) == (422, "$.config.model.name"), name
            assert "--models-dir" in answer.json["detail"]
        for body, path in (
            (_synthesis(str(secret)), "$.config.models.relation_miner[0]"),
            (_synthesis("all-minilm-l6-v2", str(secret)), "$.config.models.cross_encoder"),
        ):
            answer = await client.submit(body)
            assert (answer.status, answer.json["errors"][0]["path"]) == (422, path)
        assert (await client.call("runs_list")).json["total"] == 1


async def test_the_embedded_servers_user_has_any_folder(settings: Settings, tmp_path: Path) -> None:
    async with serving(starting_nothing(settings)) as service:
        await service.client.dataset()
        assert (await service.client.submit(run_body(model={"name": str(tmp_path)}))).status == 201


def test_folders_are_named_by_the_command_line_or_else_by_the_environment(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.symlink_to(one)
    environ = {"FINETUNER_MODELS_DIR": f"{one}:{two}"}
    assert models_dirs([], environ) == (one, one)
    assert models_dirs([str(two)], environ) == (one,)
    assert models_dirs([], {}) == ()
    with pytest.raises(InvalidInput, match="absent is no folder"):
        models_dirs([str(tmp_path / "absent")], {})


async def test_a_new_token_takes_the_place_of_the_old_ones_unless_they_are_kept(settings: Settings) -> None:
    async with serving(starting_nothing(settings)) as service:
        first = await service.other()
        async with service.database.write() as tx:
            second = attrs.evolve(first, token=await users.renew_token(tx, "other", is_kept=True))
        assert [(await one.call("me")).status for one in (first, second)] == [200, 200]
        async with service.database.write() as tx:
            third = attrs.evolve(first, token=await users.renew_token(tx, "other"))
            with pytest.raises(InvalidInput, match="there is no user 'nobody'"):
                await users.renew_token(tx, "nobody")
        assert [(await one.call("me")).status for one in (first, second, third)] == [401, 401, 200]
