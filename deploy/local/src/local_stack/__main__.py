"""`python -m local_stack up|down|status|logs|fetch`."""

import sys

from local_stack.cli import main

sys.exit(main())
