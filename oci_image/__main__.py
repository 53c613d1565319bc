"""Entry point of `python -m oci_image`."""

import sys

from oci_image.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
