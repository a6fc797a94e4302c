-- Everyone may read the spaces; nobody but their owner may change them until he grants the right.
GRANT SELECT ON embed_spaces TO PUBLIC;

-- How many rows to expect, for planners of queries over a search.
ALTER FUNCTION find_similar_profiles(text, date, text, int, text, regclass) ROWS 10;
ALTER FUNCTION find_similar_portfolios(text, date, text, int, regclass) ROWS 10;
ALTER FUNCTION find_similar_stab_scenarios(text, date, text, int, text, date, date, regclass) ROWS 10;
ALTER FUNCTION find_similar(text, jsonb, date, int, jsonb, text, date, date, regclass) ROWS 10;
