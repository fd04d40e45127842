-- Version 8: what a delivery is about. Of one key several things may be told, each with a subject of its own.

-- NULL: written by code of before, which does not know the column.
ALTER TABLE deliveries ADD COLUMN subject uuid;
