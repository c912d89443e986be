"""Archives of pruned events, in folders and in buckets."""
