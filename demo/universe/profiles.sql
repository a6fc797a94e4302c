-- Demo universe, part 4: profiles of the issuers at three dates.
--
-- What does not change between dates is drawn from the ticker, events from ticker and date; what is said about the
-- shares is computed from the prices of part 3. Companies that no longer trade have no profile.
-- Gaps, by luck: a field missing, null, blank or of another type; all three texts missing (44); no object at all (46).
CREATE TEMPORARY TABLE demo_described ON COMMIT DROP AS
WITH dated AS (
    SELECT c.*, l.last_day, l.split_day, l.split_ratio, d.as_of_date, l.instrument_id
      FROM demo_companies AS c
      JOIN demo_listings AS l ON l.instrument_id = c.ticker || c.suffix
     CROSS JOIN (VALUES (date '2024-07-31'), ('2024-10-31'), ('2025-01-31')) AS d (as_of_date)
     WHERE l.last_day >= d.as_of_date OR c.luck = 16
)
SELECT d.*, i.does, i.products, i.buyers, i.risks, i.events, f.*,
       md5(d.ticker) AS own, md5(d.ticker || d.as_of_date) AS now,
       -- Where each list of words is entered.
       floor(6 * pg_temp.demo_u(md5(d.ticker), 1))::int AS p,
       floor(4 * pg_temp.demo_u(md5(d.ticker), 2))::int AS r,
       1 + floor(3 * pg_temp.demo_u(md5(d.ticker || d.as_of_date), 1))::int AS e
  FROM dated AS d
  JOIN demo_industries AS i USING (industry_no)
 CROSS JOIN LATERAL (
    SELECT count(*) AS days, stddev_samp(ln(x.close / x.before)) AS vol, max(1 - x.close / x.peak) AS fall,
           (array_agg(x.close ORDER BY x.trade_date DESC))[1] / (array_agg(x.close ORDER BY x.trade_date))[1] - 1 AS trend
      FROM (SELECT w.trade_date, w.close, lag(w.close) OVER (ORDER BY w.trade_date) AS before,
                   max(w.close) OVER (ORDER BY w.trade_date) AS peak
              FROM (SELECT trade_date, adjusted_close AS close FROM prices_daily
                     WHERE instrument_id = d.instrument_id AND trade_date BETWEEN d.as_of_date - 120 AND d.as_of_date
                     ORDER BY trade_date DESC LIMIT 63) AS w) AS x) AS f;

CREATE TEMPORARY TABLE demo_texts ON COMMIT DROP AS
SELECT d.*,
       d.name || ' ' || d.does[1 + d.p % 3] || '.'
       || CASE WHEN d.luck % 10 = 3 THEN '' ELSE
            ' ' || pg_temp.demo_pick(ARRAY['Its products and services include ', 'Its main lines are ', 'The range covers '], d.own)
            || d.products[1 + d.p] || ', ' || d.products[1 + (d.p + 1) % 6] || ' and ' || d.products[1 + (d.p + 3) % 6] || '.'
            || pg_temp.demo_pick(ARRAY[' It sells to ', ' Its customers are ', ' Most of its sales are to '], md5(d.own))
            || d.buyers[1 + d.r % 2] || '.' END
       || CASE WHEN d.luck % 4 = 1 THEN ' It also ' || d.does[1 + (d.p + 1) % 3] || '.' ELSE '' END
       || ' Founded in ' || 1884 + floor(128 * pg_temp.demo_u(d.own, 3))::int || ', the company has its head office in '
       || d.city || CASE WHEN d.country = 'US' THEN '' ELSE ', ' || d.country_name END
       || CASE WHEN d.luck % 3 = 0 THEN '.' ELSE ', and employs about '
            || to_char(round(exp(8.2 + 1.1 * pg_temp.demo_z(d.own, 0))::numeric, -2) + 100, 'FM999,999') || ' people.' END
       -- Some describe every line at length; two (40, 41) go on beyond what a text model reads.
       || CASE WHEN d.luck % 17 = 5 OR d.luck IN (40, 41) THEN
            (SELECT string_agg(' ' || upper(left(line, 1)) || substr(line, 2) || ' brought in '
                               || 4 + floor(26 * pg_temp.demo_u(md5(d.ticker || line || round), 0))::int || '% of sales in '
                               || 2024 - round || ', chiefly from ' || d.buyers[1 + (n % 2)::int]
                               || '; management names ' || d.risks[1 + ((n + round) % 4)::int] || ' as its chief concern there.', ''
                               ORDER BY round, n)
               FROM unnest(d.products) WITH ORDINALITY AS l (line, n)
              CROSS JOIN generate_series(0, CASE WHEN d.luck IN (40, 41) THEN 4 ELSE 0 END) AS round)
            ELSE '' END AS business,
       'The main risks are ' || d.risks[1 + d.r] || ', ' || d.risks[1 + (d.r + 1) % 4] || ' and ' || d.risks[1 + (d.r + 2) % 4] || '.'
       || CASE WHEN d.days < 55 THEN ' The shares have traded for too short a time to judge their volatility.'
               ELSE ' Over the last quarter the annualised volatility of the shares was ' || round((d.vol * sqrt(252) * 100)::numeric)
                    || '%, and their deepest fall from a peak ' || round((d.fall * 100)::numeric) || '%.' END
       || CASE WHEN d.as_of_date > d.last_day THEN ' Trading in the shares has been halted since ' || to_char(d.last_day, 'FMDD FMMonth YYYY') || '.'
               WHEN d.split_ratio < 1 THEN ' Its auditors have expressed doubt that it can continue as a going concern.'
               ELSE '' END AS risk,
       'On ' || to_char(d.as_of_date - 3 - floor(60 * pg_temp.demo_u(d.now, 2))::int, 'FMDD FMMonth YYYY') || ' the company '
       || d.events[d.e] || '.'
       || CASE WHEN d.days < 55 THEN '' ELSE ' In the three months to ' || to_char(d.as_of_date, 'FMDD FMMonth YYYY') || ' the shares '
            || CASE WHEN abs(d.trend) < 0.015 THEN 'hardly moved' WHEN d.trend > 0 THEN 'rose ' || round((d.trend * 100)::numeric) || '%'
                    ELSE 'fell ' || round((-d.trend * 100)::numeric) || '%' END || '.' END
       || CASE WHEN d.split_day > d.as_of_date - 200 AND d.split_day <= d.as_of_date THEN
            CASE WHEN d.split_ratio < 1 THEN ' It consolidated its shares, one for ' || round((1 / d.split_ratio)::numeric)
                 ELSE ' It split its shares ' || d.split_ratio || ' for 1' END
            || ', on ' || to_char(d.split_day, 'FMDD FMMonth YYYY') || '.' ELSE '' END AS recent
  FROM demo_described AS d;

WITH figures AS (
    SELECT t.*, exp(21.3 + 1.1 * pg_temp.demo_z(t.own, 0))::numeric AS revenue,
           (t.margin + 0.04 * pg_temp.demo_z(t.own, 2) + 0.005 * pg_temp.demo_z(t.now, 0))::numeric AS op_margin,
           (0.15 + 0.3 * pg_temp.demo_u(md5(t.industry), 0) + 0.03 * pg_temp.demo_z(t.own, 1))::numeric AS spread,
           (CASE t.sector WHEN 'Financials' THEN 6.5 WHEN 'Utilities' THEN 1.9 WHEN 'Real Estate' THEN 1.5 WHEN 'Industrials' THEN 1.3
                          WHEN 'Energy' THEN 0.9 WHEN 'Information Technology' THEN 0.6 WHEN 'Health Care' THEN 0.7 ELSE 1.0 END
            * exp(0.3 * pg_temp.demo_z(t.own, 1)))::numeric AS leverage
      FROM demo_texts AS t
), objects AS (
    SELECT f.*, jsonb_build_object(
        'issuer_id', f.issuer_id, 'name', f.name, 'issuer_type', 'COMPANY', 'country', f.country_name,
        'sector', f.sector, 'industry', f.industry, 'issuer_metadata', jsonb_build_object('source', 'demo', 'city', f.city),
        'fundamentals', jsonb_build_object(
            'revenue', round(f.revenue, -3), 'gross_profit', round(f.revenue * (f.op_margin + f.spread), -3),
            'operating_income', round(f.revenue * f.op_margin, -3), 'ebitda', round(f.revenue * (f.op_margin + 0.06), -3),
            'net_income', round(f.revenue * f.op_margin * 0.76, -3), 'equity', round(f.revenue * 0.8, -3),
            'total_liabilities', round(f.revenue * 0.8 * f.leverage, -3), 'total_assets', round(f.revenue * 0.8 * (1 + f.leverage), -3),
            'cash', round(f.revenue * 0.11, -3), 'gross_margin', round(f.op_margin + f.spread, 4), 'op_margin', round(f.op_margin, 4),
            'net_margin', round(f.op_margin * 0.76, 4), 'leverage', round(f.leverage, 4),
            'DividendYield', round(f.dividend_yield::numeric, 4), 'currency', f.currency))
      || CASE WHEN f.days < 55 THEN '{}'::jsonb ELSE jsonb_build_object('numeric_features', jsonb_build_object(
            'instrument_id', f.instrument_id, 'price_vol_63d', round(f.vol::numeric, 6), 'price_dd_63d', round(f.fall::numeric, 6),
            'price_trend_63d', round(f.trend::numeric, 6))) END
      || CASE WHEN f.luck % 5 = 0 THEN '{}'::jsonb ELSE jsonb_build_object('news_features', jsonb_build_object(
            'n_articles', floor(9 * pg_temp.demo_u(f.now, 0))::int, 'days_since_last_news', floor(25 * pg_temp.demo_u(f.now, 3))::int,
            'has_embedding', false)) END AS facts
      FROM figures AS f
)
INSERT INTO profiles (profile_id, issuer_id, as_of_date, structured, risk_flags, created_at)
SELECT row_number() OVER (ORDER BY as_of_date, issuer_id COLLATE "C"), issuer_id, as_of_date,
       CASE WHEN luck = 46 AND as_of_date = '2025-01-31' THEN '"to be written"'::jsonb ELSE facts
         || CASE WHEN luck % 29 = 4 OR luck = 44 THEN '{}'::jsonb
                 WHEN luck % 19 = 6 THEN jsonb_build_object('business_description', E'\n  ' || business || E'  \n')
                 ELSE jsonb_build_object('business_description', business) END
         || CASE WHEN luck = 44 THEN '{}'::jsonb WHEN luck % 13 = 3 THEN jsonb_build_object('risk_summary', '   ')
                 ELSE jsonb_build_object('risk_summary', risk) END
         || CASE WHEN luck = 44 OR luck % 13 = 1 THEN '{}'::jsonb WHEN luck % 13 = 2 THEN jsonb_build_object('recent_events_summary', NULL)
                 WHEN luck = 45 THEN jsonb_build_object('recent_events_summary', jsonb_build_array(recent))
                 ELSE jsonb_build_object('recent_events_summary', recent) END END,
       jsonb_build_object('leverage_flag', round(least(1, leverage / 3), 4))
         || CASE WHEN days < 55 THEN '{}'::jsonb ELSE jsonb_build_object(
              'vol_flag', round(least(1, vol / 0.02)::numeric, 4), 'dd_flag', round(least(1, fall / 0.30)::numeric, 4)) END,
       as_of_date::timestamptz
  FROM objects
UNION ALL
VALUES (100001, 'ISS_QUAY', date '2025-01-31', '{"issuer_id": "ISS_QUAY", "name": "Quayside Holdings Limited", "issuer_type": "COMPANY", "country": "Ireland", "sector": "Financials", "industry": "Asset Management", "business_description": "Quayside Holdings Limited invests private equity and credit for institutions. It is owned by its partners and not listed."}'::jsonb, '{}'::jsonb, timestamptz '2025-01-31Z'),
       (100002, 'ISS_USTR', '2025-01-31', '{"issuer_id": "ISS_USTR", "name": "United States of America", "issuer_type": "SOVEREIGN", "country": "United States", "business_description": "The United States finances its government by selling bills, notes and bonds at auction.", "risk_summary": "The main risks are deficits, disputes over the debt ceiling and inflation."}', '{}', '2025-01-31Z');
-- Later profiles get ids beyond these.
DO $$ BEGIN
    PERFORM setval(pg_get_serial_sequence('profiles', 'profile_id'), (SELECT max(profile_id) FROM profiles));
END $$;
