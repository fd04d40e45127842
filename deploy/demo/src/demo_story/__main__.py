"""`python -m demo_story`: the story that `make demo` plays once the stack is up."""

import sys

try:
    from demo_story.cli import main

    code = main()
except KeyboardInterrupt:  # interrupted before anything began
    code = 130
sys.exit(code)
