"""The ground floor: errors, files, the machine, options. Imports nothing of the project."""
