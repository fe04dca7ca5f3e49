"""`python -m diptych`, which launchers such as `accelerate launch -m diptych train ...` start."""

import sys

from diptych.cli import main

sys.exit(main())
