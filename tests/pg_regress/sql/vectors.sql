-- Vectors: conversion, norms, similarities, padding.

-- From and to arrays: little-endian float32, no header.
SELECT vector_from_array(ARRAY[1, -2]) AS int, vector_from_array(ARRAY[1.5, 0.1]) AS numeric,
       vector_from_array(ARRAY[1.5, 0.1]::real[]) AS real, vector_from_array(ARRAY[1.5, 0.1]::float8[]) AS float8;
SELECT vector_to_array('\x0000803f000000c0'::bytea), vector_dim('\x0000803f000000c0');
SELECT vector_to_array(vector_from_array('{0.1,1e-45,3.4e38,NaN,-Infinity,-0}'::real[])) AS exact,
       vector_to_array(vector_from_array('{1e-46,1e39,16777217}'::float8[])) AS rounded;
-- A lower bound other than 1 is only a numbering.
SELECT vector_from_array('[5:7]={1,2,3}'::real[]) = vector_from_array('{1,2,3}'::real[]) AS same;

-- Norms.
SELECT l2_norm(vector_from_array(ARRAY[3, 4])) AS norm, vector_to_array(l2_normalize(vector_from_array(ARRAY[3, 4]))) AS unit;
SELECT vector_to_array(l2_normalize(vector_from_array(ARRAY[0, 0]))) AS zero_stays;
SELECT l2_norm(vector_from_array(ARRAY[1e30, 1e30]::float8[])) AS squares_beyond_float32,
       l2_norm(vector_from_array('{NaN,1}'::real[])) AS not_a_number;

-- Similarities, at lengths around those that are computed in blocks.
SELECT cosine_sim(a, b) AS cosine, euclidean_dist(a, b) AS distance, dot_product(a, b) AS dot
  FROM (SELECT vector_from_array(ARRAY[1, 2, 3]) AS a, vector_from_array(ARRAY[-2, 1, 0.5]) AS b) v;
SELECT n, dot_product(a, a) = n * (n + 1) * (2 * n + 1) / 6 AS dot, cosine_sim(a, a) AS self,
       cosine_sim(a, l2_normalize(a)) AS scaled, euclidean_dist(a, a) AS distance
  FROM unnest(ARRAY[1, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100]) n
 CROSS JOIN LATERAL (SELECT vector_from_array(array_agg(i)) AS a FROM generate_series(1, n) i) v;
SELECT cosine_sim(a, zero) AS with_zero, cosine_sim(zero, zero) AS of_zeros, euclidean_dist(a, zero) AS from_zero
  FROM (SELECT vector_from_array(ARRAY[3, 4]) AS a, vector_from_array(ARRAY[0, 0]) AS zero) v;

-- Padding: zeros at the end, or the first components.
SELECT vector_to_array(pad_to_dim(vector_from_array(ARRAY[1, 2, 3]), 5)) AS longer,
       vector_to_array(pad_to_dim(vector_from_array(ARRAY[1, 2, 3]), 2)) AS shorter,
       vector_dim(pad_to_dim(vector_from_array(ARRAY[1, 2, 3]))) AS by_default;
SELECT pad_to_dim(ARRAY[1, 2], 3) = v AS int, pad_to_dim(ARRAY[1.0, 2], 3) = v AS numeric,
       pad_to_dim(ARRAY[1, 2]::real[], 3) = v AS real, pad_to_dim(ARRAY[1, 2]::float8[], 3) = v AS float8
  FROM vector_from_array(ARRAY[1, 2, 0]) v;
SELECT vector_to_array(pad_to_dim('{}'::real[], 2)) AS nothing_given;

-- STRICT: NULL in, NULL out.
SELECT vector_dim(NULL) IS NULL, l2_norm(NULL) IS NULL, l2_normalize(NULL) IS NULL, cosine_sim(NULL, '\x00000000') IS NULL,
       euclidean_dist('\x00000000', NULL) IS NULL, dot_product(NULL, NULL) IS NULL, vector_to_array(NULL) IS NULL,
       vector_from_array(NULL::real[]) IS NULL, vector_from_array(NULL::int[]) IS NULL, pad_to_dim(NULL::bytea) IS NULL,
       pad_to_dim(ARRAY[1.0], NULL) IS NULL;

-- Stored vectors with short headers lie at odd addresses; compressed and out-of-line ones are unpacked first.
CREATE TEMPORARY TABLE stored (n int, pad text, v bytea);
INSERT INTO stored
SELECT n, repeat('x', n % 7), vector_from_array((SELECT array_agg(i % 10) FROM generate_series(1, n) i))
  FROM unnest(ARRAY[1, 2, 30, 31, 32, 33, 384, 3000, 20000]) n;
SELECT n, vector_dim(v), round(l2_norm(v)::numeric, 6) AS norm, round(cosine_sim(v, v)::numeric, 12) AS self,
       pg_column_size(v) < octet_length(v) AS compressed
  FROM stored ORDER BY n;
DROP TABLE stored;

-- Constant calls are folded into plans: IMMUTABLE.
EXPLAIN (COSTS OFF, VERBOSE) SELECT vector_dim(vector_from_array(ARRAY[1, 2])), l2_norm('\x0000803f');
