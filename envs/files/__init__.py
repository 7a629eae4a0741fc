"""Files of data on disk and over HTTP."""
