"""Video -> one followed face: landmarks, track, crop. Exports nothing; import the files."""
