"""The same for contracts that go both ways: applications write keys and documents."""
