"""Bad input of every kind: it ends as a clear error or a parked event, and harms nobody else."""
