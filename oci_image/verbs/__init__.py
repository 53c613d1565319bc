"""One file for each verb: its options and one public function."""
