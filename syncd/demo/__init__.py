"""The demonstration: real servers, 17,472 real films, the daemon, and something to try."""
