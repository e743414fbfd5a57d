"""From released packages to token records in memory-mapped shards."""
