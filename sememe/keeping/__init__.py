"""Moving a collection out and in, backups, and forgetting for good."""
