import pytest


@pytest.fixture
def bench(tmp_path):
    """Runs of the program in a folder of their own."""
    from running import Bench  # needs the program; other tests of this folder do not

    return Bench(tmp_path)
