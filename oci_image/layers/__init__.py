"""From a layer blob to files below one root directory."""
