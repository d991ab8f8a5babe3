"""A run on several devices: a process each, of which process 0 leads and alone leaves anything."""
