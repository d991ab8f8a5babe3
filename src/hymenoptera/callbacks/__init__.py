"""What watches a run: its console, its records, its pictures, its interruption."""
