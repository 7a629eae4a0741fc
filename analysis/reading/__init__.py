"""From folders of runs, and the archive of others, to tidy frames; judges nothing."""
