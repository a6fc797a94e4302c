-- Demo universe, part 3: daily prices from January 2020 to January 2025.
--
-- A day's log return = drift + beta x market + sector + industry + the company's own noise + a little of the
-- listing's own. Market, sector and industry moves are common to their members: that is the structure that
-- neighbours can be found by. Volatility comes in regimes: a crash in 2020, a restless 2022, calm 2021 and 2024.
CREATE TEMPORARY TABLE demo_days ON COMMIT DROP AS
SELECT d.trade_date,
       regime.vol,
       regime.trend + 0.0062 * regime.vol * pg_temp.demo_z(md5(d.trade_date || 'world'), 0) AS world,
       (SELECT jsonb_object_agg(m, 0.0036 * regime.vol * pg_temp.demo_z(md5(d.trade_date || m), 0))
          FROM unnest(ARRAY['US_EQ', 'EU_EQ']) AS m) AS market,
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

INSERT INTO prices_daily (instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency)
WITH moves AS (
    -- What is missing: each fifteenth listing lacks a day now and then, and luck 17 was suspended for seven weeks.
    SELECT l.instrument_id, l.currency, l.luck, d.trade_date, h.own, h.listing, d.vol,
           l.drift + l.beta * (d.world + (d.market ->> l.market_id)::float8)
             + CASE WHEN l.sector_no IS NULL THEN 0 ELSE l.group_share * d.sector[l.sector_no] END
             + CASE WHEN l.industry_no IS NULL THEN 0 ELSE l.group_share * d.industry[l.industry_no] END
             + l.own_vol * (0.5 + 0.5 * d.vol) * pg_temp.demo_z(h.own, 0)
             -- Four days a year bring news that moves a company by three of its usual days.
             * CASE WHEN pg_temp.demo_u(h.own, 2) < 0.016 AND l.sector_no IS NOT NULL THEN 3 ELSE 1 END
             + 0.0006 * pg_temp.demo_z(h.listing, 0) AS move,
           l.own_vol * (0.5 + 0.5 * d.vol) + 0.003 AS spread,
           ln(l.first_price) AS start, l.traded_value,
           CASE WHEN d.trade_date < l.split_day THEN l.split_ratio ELSE 1 END
             -- Dividends go ex each quarter on the 12th: unadjusted prices before it are higher.
             * exp(l.dividend_yield / 4 * (floor((24301 + l.luck % 3) / 3)
                   - floor((extract(year FROM d.trade_date - 11) * 12 + extract(month FROM d.trade_date - 11) + l.luck % 3) / 3))::float8)
             AS unadjust,
           l.last_rows, row_number() OVER (PARTITION BY l.instrument_id ORDER BY d.trade_date DESC) AS rows_back
      FROM demo_listings AS l
      JOIN demo_days AS d
        ON d.trade_date BETWEEN l.first_day AND l.last_day
       AND CASE l.market_id WHEN 'US_EQ' THEN d.us_open ELSE d.eu_open END
       AND NOT (l.luck = 17 AND d.trade_date BETWEEN '2024-10-07' AND '2024-11-22')
     CROSS JOIN LATERAL (SELECT md5(l.path_key || d.trade_date) AS own, md5(l.instrument_id || d.trade_date) AS listing OFFSET 0) AS h
     WHERE l.luck % 15 <> 4 OR pg_temp.demo_u(h.listing, 2) > 0.02
), paths AS (
    SELECT m.*, exp(m.start + sum(m.move) OVER so_far) AS price,
           exp(m.start + sum(m.move) OVER so_far - m.move + 0.45 * m.spread * pg_temp.demo_z(m.listing, 2)) AS opening
      FROM moves AS m
     WHERE m.rows_back <= m.last_rows
    WINDOW so_far AS (PARTITION BY m.instrument_id ORDER BY m.trade_date)
), bars AS (
    SELECT p.instrument_id, p.trade_date, p.currency, p.price,
           p.opening * p.unadjust AS o, p.price * p.unadjust AS c,
           greatest(p.opening, p.price) * exp(0.35 * p.spread * abs(pg_temp.demo_z(p.own, 1))) * p.unadjust AS h,
           least(p.opening, p.price) * exp(-0.35 * p.spread * abs(pg_temp.demo_z(p.listing, 1))) * p.unadjust AS l,
           -- Two listings hardly trade: on two days of five nobody does.
           CASE WHEN p.luck IN (61, 62) AND pg_temp.demo_u(p.listing, 3) < 0.4 THEN 0
                ELSE p.traded_value * CASE WHEN p.luck IN (61, 62) THEN 0.002 ELSE 1 END
                     * exp(0.32 * pg_temp.demo_z(p.listing, 1) + least(1.8, 14 * abs(p.move)))
                     / (p.price * p.unadjust) END AS v
      FROM paths AS p
)
SELECT instrument_id, trade_date,
       floor(o * 100 + 0.5) / 100, floor(h * 100 + 0.5) / 100, greatest(0.01, floor(l * 100 + 0.5) / 100),
       greatest(0.01, floor(c * 100 + 0.5) / 100), floor(price * 10000 + 0.5) / 10000, floor(v), currency
  FROM bars
 ORDER BY instrument_id COLLATE "C", trade_date;
