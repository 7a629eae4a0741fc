"""Tables: the paper's with one's own rows, own against published, the runs' summary; in four formats."""
