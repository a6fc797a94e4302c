"""The fixtures of tests/t, for the tests that have only a long form."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "t"))

from conftest import *  # noqa: E402, F403
