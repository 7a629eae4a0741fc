"""Records of finished runs that are handed on: what a group sends, and what a reviewer checks."""
