"""The fixtures of tests/t, for the tests that have only a long form."""

import importlib.util
import sys
from pathlib import Path

SESSIONS = Path(__file__).resolve().parents[1] / "t"
sys.path.insert(0, str(SESSIONS))

# Under another name: when only this folder is collected, "conftest" is this file.
_spec = importlib.util.spec_from_file_location("sessions_conftest", SESSIONS / "conftest.py")
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
globals().update({name: value for name, value in vars(_module).items() if not name.startswith("_")})
