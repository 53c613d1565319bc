"""python -m pyruntime"""

import sys

from pyruntime.cli.main import main

sys.exit(main())
