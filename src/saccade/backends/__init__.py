"""What answers a request, behind one protocol: the native engine, or an echo for tests."""
