"""What a search reads: a snapshot of the rows in memory-mapped arrays, and the journal of what was written since."""
