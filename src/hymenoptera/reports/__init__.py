"""What a finished run or sweep says: record, metrics, statistics, tables, pages."""
