"""Learning: networks, returns, losses, updates. It knows nothing of worlds or of noise."""
