"""The driver's parts: daemons, cut connections, pictures, expectations."""
