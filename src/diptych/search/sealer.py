"""The sealing process (`diptych.search.sealing`) as the process that started it sees it."""

import os
import signal
import subprocess
import sys
from pathlib import Path


class Sealer:
    """A process that makes one sealed shard.

    Attributes:
        name: of the shard that it makes.
        process: the process.
    """

    def __init__(self, folder: Path, name: str, scan_up_to_kib: int) -> None:
        """Start it.

        Raises:
            OSError: if it cannot be started.
        """
        self.folder, self.name = folder, name
        self.cancelled = False
        command = [sys.executable, "-m", "diptych.search.sealing", str(folder), name, str(scan_up_to_kib)]
        # It finds the same modules as this one. It lives as long as its stdin is open.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def wait(self) -> str | None:
        """Wait for its end; returns what went wrong, in words, or None."""
        assert self.process.stdin is not None and self.process.stderr is not None
        said = self.process.stderr.read().strip()
        code = self.process.wait()
        self.process.stderr.close()
        self.process.stdin.close()
        if code == 0:
            return None
        if code < 0:
            return f"the sealing process was killed ({signal.Signals(-code).name})"
        return said.splitlines()[-1] if said else f"the sealing process ended with status {code}"

    def cancel(self) -> None:
        """End it; the shard it was making is no part of the index."""
        self.cancelled = True
        self.process.kill()
