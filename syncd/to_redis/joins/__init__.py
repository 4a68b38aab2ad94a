"""Follows the documents that a contract joins: their changes, and the documents that show them."""
