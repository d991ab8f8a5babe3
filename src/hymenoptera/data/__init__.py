"""Pictures and labels: where they come from, how they are read, what is drawn from them."""
