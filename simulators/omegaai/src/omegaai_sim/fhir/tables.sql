CREATE TABLE IF NOT EXISTS resource (
    type TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, body TEXT NOT NULL, updated TEXT NOT NULL,
    PRIMARY KEY (type, id)
) WITHOUT ROWID;
-- Every value that a search parameter may ask for. The number is the id's: a page in the order of creation is a range scan.
CREATE TABLE IF NOT EXISTS search_value (
    type TEXT NOT NULL, parameter TEXT NOT NULL, value TEXT NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (type, parameter, value, number, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS search_value_id ON search_value (type, id);
CREATE TABLE IF NOT EXISTS assigning_authority (system TEXT PRIMARY KEY, issuer TEXT NOT NULL);
