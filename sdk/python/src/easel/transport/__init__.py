"""How bytes of messages travel: gRPC through grpcio, or gRPC-Web through the standard library alone."""
