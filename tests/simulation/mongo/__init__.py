"""A model of a MongoDB replica set: documents by moment, an oplog with a majority, change streams, and its commands."""
