"""From runs and published figures to statistics, tables, figures and the report. Reads files only."""
