-- Demo universe, part 3: daily prices from January 2020 to January 2025.
--
-- A day's log return = drift + beta x market + sector + industry + the company's own noise + a little of the
-- listing's own. Market, sector and industry moves are common to their members: that is the structure that
-- neighbours can be found by. Volatility comes in regimes: a crash in 2020, a restless 2022, calm 2021 and 2024.
CREATE TEMPORARY TABLE demo_days ON COMMIT DROP AS
SELECT d.trade_date,
       regime.vol,
       regime.trend + 0.0062 * regime.vol * pg_temp.demo_z(md5(d.trade_date || 'world'), 0) AS world,
       0.0036 * regime.vol * pg_temp.demo_z(md5(d.trade_date || 'US_EQ'), 0) AS us_market,
       0.0036 * regime.vol * pg_temp.demo_z(md5(d.trade_date || 'EU_EQ'), 0) AS eu_market,
       (SELECT array_agg(0.0053 * regime.vol * pg_temp.demo_z(md5(d.trade_date || 'sector' || k), 0)
                         + 0.0004 * pg_temp.demo_z(md5(extract(year FROM d.trade_date) || 'sector' || k), 0) ORDER BY k)
          FROM generate_series(1, 11) AS k) AS sector,
       (SELECT array_agg(0.0044 * regime.vol * pg_temp.demo_z(md5(d.trade_date || 'industry' || k), 0) ORDER BY k)
          FROM generate_series(1, (SELECT max(industry_no) FROM demo_industries)) AS k) AS industry,
       -- Holidays: New Year's Day and Christmas are everybody's.
       NOT (to_char(d.trade_date, 'MM-DD') IN ('01-01', '12-25', '06-19', '07-04')
            OR d.trade_date IN (SELECT h FROM unnest(ARRAY['2020-09-07', '2021-09-06', '2022-09-05', '2023-09-04', '2024-09-02',
                '2020-11-26', '2021-11-25', '2022-11-24', '2023-11-23', '2024-11-28', '2020-05-25', '2021-05-31', '2022-05-30',
                '2023-05-29', '2024-05-27', '2020-01-20', '2021-01-18', '2022-01-17', '2023-01-16', '2024-01-15', '2025-01-20',
                '2020-04-10', '2021-04-02', '2022-04-15', '2023-04-07', '2024-03-29', '2025-01-09']::date[]) AS h)) AS us_open,
       NOT (to_char(d.trade_date, 'MM-DD') IN ('01-01', '12-25', '12-26', '05-01')
            OR d.trade_date IN (SELECT h FROM unnest(ARRAY['2020-04-10', '2021-04-02', '2022-04-15', '2023-04-07', '2024-03-29',
                '2020-04-13', '2021-04-05', '2022-04-18', '2023-04-10', '2024-04-01']::date[]) AS h)) AS eu_open
  FROM (SELECT day::date AS trade_date
          FROM generate_series(timestamp '2020-01-02', timestamp '2025-01-31', interval '1 day') AS day
         WHERE extract(isodow FROM day) < 6) AS d
 CROSS JOIN LATERAL (
    SELECT CASE WHEN d.trade_date BETWEEN '2020-02-20' AND '2020-04-15' THEN 3.0
                WHEN d.trade_date BETWEEN '2020-04-16' AND '2020-10-30' THEN 1.4
                WHEN d.trade_date BETWEEN '2022-01-10' AND '2022-11-30' THEN 1.45
                WHEN d.trade_date BETWEEN '2023-03-08' AND '2023-03-31' THEN 1.6
                WHEN d.trade_date BETWEEN '2024-08-01' AND '2024-08-14' THEN 2.0
                WHEN d.trade_date >= '2023-11-01' OR d.trade_date BETWEEN '2021-01-01' AND '2021-12-31' THEN 0.85
                ELSE 1.0 END AS vol,
           CASE WHEN d.trade_date BETWEEN '2020-02-20' AND '2020-03-23' THEN -0.0165
                WHEN d.trade_date BETWEEN '2020-03-24' AND '2020-06-08' THEN 0.0062
                WHEN d.trade_date BETWEEN '2022-01-03' AND '2022-10-12' THEN -0.0011
                ELSE 0.0009 END AS trend) AS regime;

-- The young begin so late that they have few rows; nobody has any of luck 15.
UPDATE demo_listings AS l
   SET first_day = coalesce((SELECT min(recent.trade_date)
                               FROM (SELECT d.trade_date FROM demo_days AS d
                                      WHERE CASE l.market_id WHEN 'US_EQ' THEN d.us_open ELSE d.eu_open END
                                      ORDER BY d.trade_date DESC LIMIT l.last_rows) AS recent), 'infinity')
 WHERE l.last_rows IS NOT NULL;

INSERT INTO prices_daily (instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency)
WITH draws AS (
    -- Chance: z0 to z2 of the company and the day, y0 to y2 of the listing and the day, and what is left uniform.
    SELECT l.*, d.trade_date, d.vol, CASE l.market_id WHEN 'US_EQ' THEN d.us_market ELSE d.eu_market END + d.world AS market,
           CASE WHEN l.sector_no IS NULL THEN 0 ELSE l.group_share * d.sector[l.sector_no] END
             + CASE WHEN l.industry_no IS NULL THEN 0 ELSE l.group_share * d.industry[l.industry_no] END AS peers,
           pg_temp.demo_z(h.own, 0) AS z0, pg_temp.demo_u(h.own, 2) AS u2, pg_temp.demo_z(h.own, 1) AS z1,
           pg_temp.demo_z(h.listing, 0) AS y0, pg_temp.demo_z(h.listing, 1) AS y1, pg_temp.demo_z(h.listing, 2) AS y2,
           pg_temp.demo_u(h.listing, 2) AS v2, pg_temp.demo_u(h.listing, 3) AS v3
      FROM demo_listings AS l
      JOIN demo_days AS d
        ON d.trade_date BETWEEN l.first_day AND l.last_day
       AND CASE l.market_id WHEN 'US_EQ' THEN d.us_open ELSE d.eu_open END
       AND NOT (l.luck = 17 AND d.trade_date BETWEEN '2024-10-07' AND '2024-11-22')
     CROSS JOIN LATERAL (SELECT md5(l.path_key || d.trade_date) AS own, md5(l.instrument_id || d.trade_date) AS listing OFFSET 0) AS h
), moves AS (
    -- What is missing: each fifteenth listing lacks a day now and then; luck 17 was suspended for seven weeks (above).
    SELECT r.instrument_id, r.trade_date, r.currency, r.luck, r.traded_value, r.y1, r.y2, r.z1, r.v3,
           ln(r.first_price) AS start, r.own_vol * (0.5 + 0.5 * r.vol) + 0.003 AS spread,
           -- Four days a year bring news that moves a company by three of its usual days.
           r.drift + r.beta * r.market + r.peers
             + r.own_vol * (0.5 + 0.5 * r.vol) * r.z0 * CASE WHEN r.u2 < 0.016 AND r.sector_no IS NOT NULL THEN 3 ELSE 1 END
             + 0.0006 * r.y0 AS move,
           CASE WHEN r.trade_date < r.split_day THEN r.split_ratio ELSE 1 END
             -- Dividends go ex each quarter on the 12th: unadjusted prices before it are higher.
             * exp(r.dividend_yield / 4 * (floor((24301 + r.luck % 3) / 3)
                   - floor((extract(year FROM r.trade_date - 11) * 12 + extract(month FROM r.trade_date - 11) + r.luck % 3) / 3))::float8)
             AS unadjust
      FROM draws AS r
     WHERE r.luck % 15 <> 4 OR r.v2 > 0.02
    OFFSET 0
), paths AS (
    SELECT m.*, m.start + sum(m.move) OVER so_far AS log_price
      FROM moves AS m
    WINDOW so_far AS (PARTITION BY m.instrument_id COLLATE "C" ORDER BY m.trade_date)
), quotes AS (
    SELECT p.*, exp(p.log_price) AS price, exp(p.log_price - p.move + 0.45 * p.spread * p.y2) AS opening
      FROM paths AS p OFFSET 0
), bars AS (
    SELECT q.instrument_id, q.trade_date, q.currency, q.price, q.opening * q.unadjust AS o, q.price * q.unadjust AS c,
           greatest(q.opening, q.price) * exp(0.35 * q.spread * abs(q.z1)) * q.unadjust AS h,
           least(q.opening, q.price) * exp(-0.35 * q.spread * abs(q.y1)) * q.unadjust AS l,
           -- Two listings hardly trade: on two days of five nobody does.
           CASE WHEN q.luck IN (61, 62) AND q.v3 < 0.4 THEN 0
                ELSE q.traded_value * CASE WHEN q.luck IN (61, 62) THEN 0.002 ELSE 1 END
                     * exp(0.32 * q.y1 + least(1.8, 14 * abs(q.move))) / (q.price * q.unadjust) END AS v
      FROM quotes AS q
)
SELECT instrument_id, trade_date,
       floor(o * 100 + 0.5) / 100, floor(h * 100 + 0.5) / 100, greatest(0.01, floor(l * 100 + 0.5) / 100),
       greatest(0.01, floor(c * 100 + 0.5) / 100), floor(price * 10000 + 0.5) / 10000, floor(v), currency
  FROM bars
 ORDER BY instrument_id COLLATE "C", trade_date;
