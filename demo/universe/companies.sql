-- Demo universe, part 2: markets, issuers and instruments.
--
-- Every company gets a name (a root, a word of its industry, a legal form), a luck number that decides which oddity
-- it has, if any, and a listing that says how its prices behave; part 3 makes the prices from the listings.
CREATE TEMPORARY TABLE demo_countries ON COMMIT DROP AS
SELECT * FROM (VALUES
    ('US', 'United States', 'US_EQ', '.US', NULL,   'USD', ARRAY['Inc.', 'Corporation', 'Holdings, Inc.', 'Group, Inc.'],
     ARRAY['Columbus, Ohio', 'Tulsa, Oklahoma', 'Raleigh, North Carolina', 'Boise, Idaho', 'Hartford, Connecticut',
           'Plano, Texas', 'Madison, Wisconsin', 'Tacoma, Washington', 'Richmond, Virginia', 'Provo, Utah']),
    ('DE', 'Germany',        'EU_EQ', '.DE', 'XETR', 'EUR', ARRAY['AG', 'SE'], ARRAY['Augsburg', 'Kassel', 'Bremen', 'Ulm']),
    ('FR', 'France',         'EU_EQ', '.PA', 'XPAR', 'EUR', ARRAY['SA'],       ARRAY['Lyon', 'Nantes', 'Grenoble']),
    ('GB', 'United Kingdom', 'EU_EQ', '.L',  'XLON', 'GBP', ARRAY['plc', 'Group plc'], ARRAY['Leeds', 'Bristol', 'Aberdeen']),
    ('NL', 'Netherlands',    'EU_EQ', '.AS', 'XAMS', 'EUR', ARRAY['N.V.'],     ARRAY['Utrecht', 'Eindhoven']),
    ('IT', 'Italy',          'EU_EQ', '.MI', 'XMIL', 'EUR', ARRAY['S.p.A.'],   ARRAY['Turin', 'Bologna']),
    ('ES', 'Spain',          'EU_EQ', '.MC', 'XMAD', 'EUR', ARRAY['S.A.'],     ARRAY['Bilbao', 'Valencia']),
    ('SE', 'Sweden',         'EU_EQ', '.ST', 'XSTO', 'SEK', ARRAY['AB'],       ARRAY['Gothenburg', 'Uppsala']),
    ('CH', 'Switzerland',    'EU_EQ', '.SW', 'XSWX', 'CHF', ARRAY['AG', 'Holding AG'], ARRAY['Basel', 'Winterthur'])
) AS v (country, country_name, market_id, suffix, exchange, currency, legal_forms, cities);

CREATE TEMPORARY TABLE demo_companies ON COMMIT DROP AS
WITH roots AS (
    SELECT r.country, c.market_id, root,
           row_number() OVER (PARTITION BY c.market_id ORDER BY md5(root)) AS place
      FROM (VALUES
      ('US', 
        'Abernathy Alderson Amberfield Applegarth Ardmore Ashcombe Atwater Avondale Bannerman Barrowgate '
        'Baycrest Beaumont Bellwether Benbrook Birchmont Blackmoor Bluestem Bonaventure Braddock Brightwater '
        'Broadmoor Buckthorn Caldera Calloway Canterra Carrick Cascadia Cedarline Chesterton Cimarron Claremont '
        'Clearfork Cobblestone Coldbrook Compton Copperhill Corvane Crestline Cypress Dalhart Daybreak Deepwell '
        'Denholm Dovetail Driftwood Dunmore Eastlake Eddystone Elkhorn Ellsworth Emberly Evermont Fairhaven '
        'Fallbrook Farrington Fenwick Firethorn Flagstone Foxglove Fulcrum Gablewood Garrison Glenrock Goldfinch '
        'Granby Greenhollow Gristmill Halcyon Hardwick Harborline Hartwell Hawthorne Hazelton Highgate Hollister '
        'Ironbridge Islington Jasperton Juniper Kearsarge Keystream Kingsbury Kittredge Lakemont Lanternfish '
        'Larkspur Ledgewood Lindenwold Longbow Lodestar Madrone Mapleton Marlowe Meridian Millrace Monadnock '
        'Mossbank Nantasket Nettleton Newbridge Northgate Oakhurst Oldfield Orchardson Osprey Overland Palisade '
        'Parkhurst Pemberton Pinecrest Plumtree Portsmith Prairieland Quarryton Quillon Radcliffe Ravenswood '
        'Redfern Ridgeline Riverton Rookwood Rosemont Saddleback Sagebrush Sandpiper Seabright Sequoyah '
        'Shelburne Silverlake Skylark Somerset Springvale Steelhead Stonecroft Summerlin Sycamore Tallgrass '
        'Tamarack Teasdale Thornbury Tidewater Timberline Trellis Umbra Upland Valemont Vantage Verity '
        'Wainwright Waverly Westerly Wheatley Whitaker Wildrose Windmere Wolcott Yarrow Yellowtail Zephyr '
        'Acadian Bristlecone Chickadee Dogwood Eaglecrest Foothill Gunnison Huckleberry Inglenook Jamestown'),
      ('DE',
        'Adlerbach Brandhof Dornfeld Eichwald Falkenried Gerstner Hohenfels Isarwerk Kaltenbach Kyffhausen '
        'Morgenroth Neckarstahl Oberrhein Rotenburg Steinbrueck Talheim Uhlenhorst Wiesengrund Zollern'),
      ('FR',
        'Aubervilliers Bocage Chantemerle Delacourt Fontclaire Garonnais Jolimont Lamartine Montclar Nivernais '
        'Ormesson Rochefontaine Sauveterre Valcourt Tourmalet'),
      ('GB',
        'Ashdown Thamesford Cotswold Dartmouth Foxcombe Greycliff Nethercote Kenilworth Lymington Merrivale '
        'Penrose Rutland Tavistock Wexford Inverlochy'),
      ('NL',
        'Amstelveld Bergweide Delfshaven Haarlem Kralingen Leidsche Oosterpark Tulpkade'),
      ('IT',
        'Altamura Riccione Castelnuovo Lucchesi Marzocco Pontevecchio Sanremese Tramonti'),
      ('ES',
        'Almendral Trasmiera Guadalmar Navarrete Olivares Sierranevada Valdemoro'),
      ('SE',
        'Bjorkholm Dalarna Ekstrand Fjallrav Hallberg Norrskog Sundsvik Vasterholm'),
      ('CH',
        'Aarberg Engadin Jungfrau Limmattal Rigiblick Seelisberg Zermattis')
           ) AS r (country, names)
      JOIN demo_countries AS c USING (country)
     CROSS JOIN LATERAL string_to_table(r.names, ' ') AS root
), slots AS (
    SELECT m.market_id, i.*, row_number() OVER (PARTITION BY m.market_id ORDER BY i.industry_no, n) AS place
      FROM demo_industries AS i
     CROSS JOIN LATERAL (VALUES ('US_EQ', i.us_companies), ('EU_EQ', i.eu_companies)) AS m (market_id, companies)
     CROSS JOIN LATERAL generate_series(1, m.companies) AS n
)
SELECT upper(left(r.root, 4)) AS ticker,
       'ISS_' || upper(left(r.root, 4)) AS issuer_id,
       r.root || ' ' || pg_temp.demo_pick(s.name_words, md5(r.root || 'word')) AS short_name,
       r.root || ' ' || pg_temp.demo_pick(s.name_words, md5(r.root || 'word')) || ' '
              || pg_temp.demo_pick(c.legal_forms, md5(r.root || 'legal')) AS name,
       pg_temp.demo_pick(c.cities, md5(r.root || 'city')) AS city,
       c.country, c.country_name, c.market_id, c.suffix, c.currency,
       coalesce(c.exchange, pg_temp.demo_pick(ARRAY['XNYS', 'XNAS'], md5(r.root || 'exchange'))) AS exchange,
       s.industry_no, s.sector, s.industry, s.own_vol, s.beta, s.dividend_yield, s.margin,
       dense_rank() OVER (ORDER BY s.sector COLLATE "C") AS sector_no,
       -- Luck is dealt within the large industries only, so that no sector is made of oddities.
       row_number() OVER (ORDER BY s.us_companies < 4, md5(r.root || 'luck')) AS luck
  FROM slots AS s
  JOIN roots AS r USING (market_id, place)
  JOIN demo_countries AS c USING (country);

INSERT INTO markets (market_id, name, region, timezone, calendar_spec, metadata, created_at, updated_at)
VALUES ('US_EQ', 'US equities', 'US', 'America/New_York',
        '{"weekdays": [1, 2, 3, 4, 5], "open": "09:30", "close": "16:00"}', '{"source": "demo"}', '2025-02-01Z', '2025-02-01Z'),
       ('EU_EQ', 'European equities', 'EU', 'Europe/Paris',
        '{"weekdays": [1, 2, 3, 4, 5], "open": "09:00", "close": "17:30"}', '{"source": "demo"}', '2025-02-01Z', '2025-02-01Z');

INSERT INTO issuers (issuer_id, issuer_type, name, country, sector, industry, metadata, created_at, updated_at)
SELECT issuer_id, 'COMPANY', name, country_name, sector, industry,
       jsonb_build_object('source', 'demo', 'city', city), '2025-02-01Z', '2025-02-01Z'
  FROM demo_companies
UNION ALL
VALUES ('ISS_PROV', 'FUND', 'Provident Index Funds', 'United States', NULL, NULL, '{"source": "demo"}'::jsonb, '2025-02-01Z'::timestamptz, '2025-02-01Z'::timestamptz),
       ('ISS_USTR', 'SOVEREIGN', 'United States of America', 'United States', NULL, NULL, '{"source": "demo"}', '2025-02-01Z', '2025-02-01Z'),
       ('ISS_QUAY', 'COMPANY', 'Quayside Holdings Limited', 'Ireland', 'Financials', 'Asset Management', '{"source": "demo", "note": "not listed"}', '2025-02-01Z', '2025-02-01Z');

-- What trades, and how: the path is drawn from path_key (share classes of one company share it), the noise of the
-- single listing from instrument_id. Shares of sector and industry moves are 1 for companies.
CREATE TEMPORARY TABLE demo_listings ON COMMIT DROP AS
WITH listed AS (
    SELECT c.ticker || c.suffix AS instrument_id, c.issuer_id, c.market_id, 'EQUITY' AS asset_class,
           c.ticker AS symbol, c.exchange, c.currency, c.ticker AS path_key, c.sector_no, c.industry_no,
           c.beta * exp(0.12 * pg_temp.demo_z(md5(c.ticker || 'beta'), 0)) AS beta,
           1.0 AS group_share,
           c.own_vol * exp(0.15 * pg_temp.demo_z(md5(c.ticker || 'vol'), 0)) AS own_vol,
           c.dividend_yield, c.luck, ''::text AS class
      FROM demo_companies AS c
), classes AS (
    SELECT ticker.* FROM listed AS ticker
    UNION ALL  -- second share classes
    SELECT symbol || 'B' || substr(instrument_id, 5), issuer_id, market_id, asset_class, symbol || '.B', exchange, currency,
           path_key, sector_no, industry_no, beta, group_share, own_vol, dividend_yield, luck, 'B'
      FROM listed WHERE luck BETWEEN 31 AND 36
    UNION ALL  -- receipts on European companies, listed in the US
    SELECT symbol || 'Y.US', issuer_id, 'US_EQ', asset_class, symbol || 'Y', 'XNAS', 'USD',
           path_key, sector_no, industry_no, beta, group_share, own_vol, dividend_yield, luck, 'Y'
      FROM listed WHERE market_id = 'EU_EQ' AND luck BETWEEN 37 AND 60
    UNION ALL  -- what is not a share: funds, futures, bonds, a metal that nobody issues
    SELECT v.*, 0, '' FROM (VALUES
        ('PMKT.US', 'ISS_PROV', 'US_EQ', 'ETF', 'PMKT', 'XNYS', 'USD', 'PMKT', NULL::bigint, NULL::int, 1.0::float8, 0.0::float8, 0.0003::float8, 0.014::float8),
        ('PTEC.US', 'ISS_PROV', 'US_EQ', 'ETF', 'PTEC', 'XNYS', 'USD', 'PTEC', (SELECT min(sector_no) FROM demo_companies WHERE sector = 'Information Technology'), NULL, 1.25, 1.0, 0.0008, 0.006),
        ('PFIN.US', 'ISS_PROV', 'US_EQ', 'ETF', 'PFIN', 'XNYS', 'USD', 'PFIN', (SELECT min(sector_no) FROM demo_companies WHERE sector = 'Financials'), NULL, 1.05, 1.0, 0.0008, 0.024),
        ('PEUR.DE', 'ISS_PROV', 'EU_EQ', 'ETF', 'PEUR', 'XETR', 'EUR', 'PEUR', NULL, NULL, 1.0, 0.0, 0.0003, 0.026),
        ('PMKTH25.US', 'ISS_PROV', 'US_EQ', 'FUTURE', 'PMKTH25', 'XCME', 'USD', 'PMKT', NULL, NULL, 1.0, 0.0, 0.0003, 0.0),
        ('PEURH25.DE', 'ISS_PROV', 'EU_EQ', 'FUTURE', 'PEURH25', 'XEUR', 'EUR', 'PEUR', NULL, NULL, 1.0, 0.0, 0.0003, 0.0),
        ('UST-2034.US', 'ISS_USTR', 'US_EQ', 'BOND', 'UST 4.25 34', NULL, 'USD', 'UST', NULL, NULL, -0.10, 0.0, 0.0030, 0.0),
        ('XAU.US', NULL, 'US_EQ', 'COMMODITY', 'XAU', NULL, 'USD', 'XAU', NULL, NULL, 0.05, 0.0, 0.0090, 0.0)
    ) AS v
)
SELECT l.*,
       -- Where the path begins: young instruments with few rows (53 is one too few for a window of 63), and a
       -- company that has no prices at all (luck 15).
       CASE l.luck WHEN 9 THEN 12 WHEN 10 THEN 40 WHEN 11 THEN 53 WHEN 12 THEN 54 WHEN 13 THEN 63 WHEN 14 THEN 150 WHEN 15 THEN 0
            END AS last_rows,
       CASE WHEN l.asset_class = 'FUTURE' THEN date '2024-03-18' ELSE date '2020-01-02' END AS first_day,
       -- Where it ends: the dead, and one that stopped trading but is still called active (luck 16).
       CASE l.luck WHEN 1 THEN date '2020-03-18' WHEN 2 THEN date '2021-06-30' WHEN 3 THEN date '2022-02-11'
            WHEN 4 THEN date '2022-11-30' WHEN 5 THEN date '2023-03-10' WHEN 6 THEN date '2023-10-20'
            WHEN 7 THEN date '2024-05-31' WHEN 8 THEN date '2024-12-20' WHEN 16 THEN date '2024-10-25'
            ELSE date '2025-01-31' END AS last_day,
       -- Splits: raw prices jump, adjusted ones do not. Luck 30 is a reverse split.
       CASE WHEN l.luck BETWEEN 18 AND 29 THEN date '2020-08-31' + (31 * (l.luck * 41 % 53))::int
            WHEN l.luck = 30 THEN date '2024-12-02' END AS split_day,
       CASE WHEN l.luck = 30 THEN 0.1::float8 WHEN l.luck IN (18, 24) THEN 4 WHEN l.luck IN (19, 27) THEN 3
            WHEN l.luck = 21 THEN 10 WHEN l.luck = 22 THEN 1.5 WHEN l.luck BETWEEN 20 AND 29 THEN 2 ELSE 1 END AS split_ratio,
       CASE WHEN l.asset_class = 'BOND' THEN 98.5 WHEN l.asset_class = 'COMMODITY' THEN 1520
            WHEN l.asset_class IN ('ETF', 'FUTURE') THEN 180
            ELSE exp(3.9 + 0.75 * pg_temp.demo_z(md5(l.path_key || 'price'), 0)) END
         * CASE l.class WHEN 'B' THEN 0.97 WHEN 'Y' THEN 1.08 ELSE 1 END AS first_price,
       exp(17.2 + 1.1 * pg_temp.demo_z(md5(l.path_key || 'traded'), 0))
         * CASE l.class WHEN 'B' THEN 0.15 WHEN 'Y' THEN 0.04 ELSE 1 END AS traded_value,
       0.00035 * pg_temp.demo_z(md5(l.path_key || 'drift'), 0)
         -- The dying decline before they go.
         - CASE WHEN l.luck IN (1, 3, 5, 7, 30) THEN 0.0022 ELSE 0 END AS drift
  FROM classes AS l;

INSERT INTO instruments (instrument_id, issuer_id, market_id, asset_class, symbol, exchange, currency, multiplier,
                         maturity_date, underlying_instrument_id, status, metadata, created_at, updated_at)
SELECT instrument_id, issuer_id, market_id, asset_class, symbol, exchange, currency,
       CASE asset_class WHEN 'FUTURE' THEN 50 END,
       CASE asset_class WHEN 'FUTURE' THEN date '2025-03-21' WHEN 'BOND' THEN date '2034-11-15' END,
       CASE instrument_id WHEN 'PMKTH25.US' THEN 'PMKT.US' WHEN 'PEURH25.DE' THEN 'PEUR.DE' END,
       CASE WHEN luck BETWEEN 1 AND 8 THEN 'INACTIVE' ELSE 'ACTIVE' END,
       '{"source": "demo"}', '2025-02-01Z', '2025-02-01Z'
  FROM demo_listings;
