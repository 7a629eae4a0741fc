"""What the paper says of its method, measured on trained policies."""
