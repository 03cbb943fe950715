"""Many dubs from one manifest, one by one or on Ray. Exports nothing; import the files."""
