"""The way to what this member's tests share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
