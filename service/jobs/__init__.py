"""Jobs: their types and the database that stores them."""
