"""`python -m trainyard` is the same as `trainyard`."""

import sys

from trainyard.command_line import main

sys.exit(main())
