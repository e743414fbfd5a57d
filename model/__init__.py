"""What the network is and what its text format is. Imports nothing of ours."""
