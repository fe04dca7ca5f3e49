"""Two processes for all the objectives, started once."""

from __future__ import annotations

import cases
import pytest
import ranks
import wrong


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> ranks.Results:
    """What two processes came to, of every objective and split."""
    return ranks.run([*cases.objectives(), *wrong.IN_PROCESSES], tmp_path_factory.mktemp("processes"))
