"""The calls of the client about artifacts."""

from __future__ import annotations

from finetuner.aio.arguments import checked
from finetuner.aio.calls import ClientCalls
from finetuner.aio.run import artifact_info
from finetuner.api.names import is_id
from finetuner.api.types import ArtifactInfo
from finetuner.errors import InvalidInput


@checked
class ArtifactCalls(ClientCalls):
    """The calls about artifacts."""

    async def get_artifact(self, artifact_id: str) -> ArtifactInfo:
        """Give size, sha256 and files of an artifact by its id; nothing is fetched.

        Args:
            artifact_id: What `run.artifact_id` is: 24 hexadecimal digits. A run that one has gives the same by
                `run.artifact()`.

        Raises:
            InvalidInput: It is no such id.
            ArtifactNotFound: There is none; it is deleted with its run.
            RunInProgress: Its run has not ended yet.
            RunFailed: Its run failed and has no artifact.

        Example:
            for file in (await client.get_artifact(run.artifact_id)).files:
                print(file.path, file.size_bytes)
        """
        if not is_id(artifact_id):
            raise InvalidInput(
                f"artifact_id must be a run's artifact_id (24 hexadecimal digits), not {artifact_id[:80]!r}; "
                "get_run(name) finds a run by its name"
            )
        return await artifact_info(self, artifact_id)
