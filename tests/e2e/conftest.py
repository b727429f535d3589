"""The fixtures and options are in shared.py, which tests/edc uses as well."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

pytest_plugins = ("shared",)
