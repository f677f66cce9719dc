"""What comes of evaluating methods over pictures: records, tables, and where objects are."""
