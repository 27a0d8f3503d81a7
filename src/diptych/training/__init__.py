"""The training engine: batches, steps, schedules, early stopping, checkpoints, logs and curves."""
