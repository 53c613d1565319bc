"""config.json as typed records, its rules and its default."""
