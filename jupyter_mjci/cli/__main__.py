"""Run `python -m jupyter_mjci.cli`, the same as `jupyter mjci`."""

import sys

from jupyter_mjci.cli.main import main

sys.exit(main())
