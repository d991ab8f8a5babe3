"""What a finished run or sweep says: records, statistics, tables. Reads files, needs no torch."""
