"""What the front door does: processes, Slurm, the record of launches, status, hours."""
