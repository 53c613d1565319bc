"""Which program this is, and which specification it follows."""

VERSION = "0.1.0"
SPEC_VERSION = "1.3.0"
COMMIT = ""  # a build from a source archive knows none
