"""`python -m sibp` is `sibp`."""

import sys

from sibp.cli import main

sys.exit(main())
