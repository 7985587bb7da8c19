"""Development data that lies beside the checkout on some machines; tests that need it skip without it."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the development data in ../shared")
