"""What a run is, its records on disk, and what made it. No JAX."""
