"""What a real build or run did, laid over the placed graph."""
