"""Pure: a config and facts about the host become a plan."""
