"""Films of the episodes that evaluation counts."""
