"""Every pytest process keeps Open MPI's session folders apart: of two mpirun that start at once in the same place, one
may find that the other has just made the folder, and fails."""

import atexit
import os
import shutil
import tempfile

os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="eps-")
atexit.register(shutil.rmtree, os.environ["TMPDIR"], ignore_errors=True)
