"""Processes of the ranks that tests start."""


def is_running(pid):
    """Whether the process exists and is more than an entry that waits to be collected."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
