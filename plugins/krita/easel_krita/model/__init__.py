"""What the panel knows and decides. Knows neither Qt nor Krita nor the network."""
