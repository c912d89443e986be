"""Where pruned events are kept: files of gzip'd NDJSON in a folder or a bucket, one for each hour of `routed_at` (UTC).

    <place>/2026/01/31/events-20260131T09Z.ndjson.gz
    <place>/2026/01/31/payloads-20260131T09Z.ndjson.gz

A line is counted as written when it is on the disk, or when the bucket has answered; what is pruned is deleted after
that. A crash between the two leaves lines in the archive whose events are in the table as well, and reading them back
does no harm.
"""
