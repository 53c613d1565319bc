"""python -m pyruntime, and python -IS .../pyruntime/__main__.py"""

import os
import sys

if not __package__:
    # Started by its path: by a program whose own interpreter lacks what this command needs.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from pyruntime.cli.main import main

sys.exit(main())
