"""num_window_agg in every place where SQL allows an aggregate: the same vectors as the array form."""

import pytest
from numeric_data import fails, fill

AGG = "num_window_agg(trade_date, close, volume, 20, 'num-regime-core-v1')"
BY_INSTRUMENT = f"SELECT instrument_id, {AGG} FROM prices_daily GROUP BY instrument_id ORDER BY instrument_id"


@pytest.fixture(scope="module")
def market(module_db):
    fill(module_db, instruments=6, days=120)
    return module_db


@pytest.fixture(scope="module")
def expected(market):
    return market.execute(
        """SELECT instrument_id, num_window_embed(array_agg(close ORDER BY trade_date), array_agg(volume ORDER BY trade_date), 20)
             FROM prices_daily GROUP BY instrument_id ORDER BY instrument_id"""
    ).fetchall()


def test_groups_in_every_physical_order(market, expected):
    for seed in range(50):
        with market.transaction(force_rollback=True):
            market.execute("SELECT setseed(%s)", (seed / 50,))
            market.execute("CREATE TEMPORARY TABLE shuffled ON COMMIT DROP AS SELECT * FROM prices_daily ORDER BY random()")
            assert market.execute(BY_INSTRUMENT.replace("prices_daily", "shuffled")).fetchall() == expected, seed


def test_a_repeated_day_is_judged_alike_in_every_physical_order(market):
    """Regression: whether a repeated day outside the window was an error depended on the order of the rows."""
    rows = "SELECT trade_date, close, volume FROM prices_daily WHERE instrument_id = 'X0001'"
    within, before = (
        f"{rows} UNION ALL ({rows} ORDER BY trade_date DESC OFFSET {offset} LIMIT 1)" for offset in (19, 20)
    )
    vector = market.execute(f"SELECT {AGG} FROM ({rows}) r").fetchone()
    for seed in range(50):
        market.execute("SELECT setseed(%s)", (seed / 50,))
        assert market.execute(f"SELECT {AGG} FROM (SELECT * FROM ({before}) u ORDER BY random()) r").fetchone() == vector
        market.execute("SELECT setseed(%s)", (seed / 50,))
        with fails("22000", "duplicate day"):
            market.execute(f"SELECT {AGG} FROM (SELECT * FROM ({within}) u ORDER BY random()) r")


def test_parallel_plans(market, expected):
    with market.transaction(force_rollback=True):
        market.execute(
            """SET LOCAL max_parallel_workers_per_gather = 4; SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0;
               SET LOCAL min_parallel_table_scan_size = 0; ALTER TABLE prices_daily SET (parallel_workers = 4)"""
        )
        plan = "\n".join(row[0] for row in market.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {BY_INSTRUMENT}"))
        assert "Partial" in plan and "Finalize" in plan and "Workers Launched: 4" in plan, plan
        assert market.execute(BY_INSTRUMENT).fetchall() == expected
        # With the leader idle every state goes through its serialised form.
        market.execute("SET LOCAL parallel_leader_participation = off")
        assert market.execute(BY_INSTRUMENT).fetchall() == expected
        # Arguments that differ are noticed where states meet.
        with fails("22023", "must be the same on every row of a group"):
            market.execute("SELECT num_window_agg(trade_date, close, volume, 20 + (ctid::text::point)[0]::int % 2, 'num-regime-core-v1') FROM prices_daily")


@pytest.mark.parametrize("settings", ["enable_hashagg = off", "enable_sort = off", "work_mem = '64kB'", "jit_above_cost = 0", "force_parallel_mode = on"])
def test_plans_of_every_kind(market, expected, settings):
    if market.info.server_version >= 160000:
        settings = settings.replace("force_parallel_mode", "debug_parallel_query")
    name = settings.split()[0]
    market.execute(f"SET {settings}")
    try:
        assert market.execute(BY_INSTRUMENT).fetchall() == expected
    finally:
        market.execute(f"RESET {name}")


def test_filter_distinct_grouping_sets_and_two_at_once(market, expected):
    rows = market.execute(
        f"""SELECT instrument_id, {AGG}, {AGG} FILTER (WHERE trade_date < '2024-06-01') = num_window_embed(instrument_id, '2024-05-31', 20),
                   num_window_agg(DISTINCT trade_date, close, volume, 20, 'num-regime-core-v1'),
                   num_window_agg(trade_date, close, volume, 10, 'numeric-simple-v1') = num_window_embed(instrument_id, '2024-06-28', 10, 'numeric-simple-v1')
              FROM (SELECT * FROM prices_daily UNION ALL SELECT * FROM prices_daily WHERE false) p GROUP BY instrument_id ORDER BY 1"""
    ).fetchall()
    assert rows == [(instrument, vector, True, vector, True) for instrument, vector in expected]
    sets = market.execute(f"SELECT instrument_id, {AGG} FROM prices_daily WHERE instrument_id = 'X0001' GROUP BY GROUPING SETS ((instrument_id), ())").fetchall()
    assert [vector for _, vector in sets] == [expected[0][1]] * 2


FRAMES = [
    "ORDER BY trade_date ROWS BETWEEN 19 PRECEDING AND CURRENT ROW",
    "ORDER BY trade_date ROWS BETWEEN 60 PRECEDING AND 3 FOLLOWING",
    "ORDER BY trade_date ROWS BETWEEN 70 PRECEDING AND 30 PRECEDING",
    "ORDER BY trade_date ROWS BETWEEN 2 FOLLOWING AND 40 FOLLOWING",
    "ORDER BY trade_date ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
    "ORDER BY trade_date ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
    "ORDER BY trade_date RANGE BETWEEN '28 days' PRECEDING AND CURRENT ROW",
    "ORDER BY extract(week FROM trade_date) GROUPS BETWEEN 5 PRECEDING AND CURRENT ROW",
    "ORDER BY trade_date DESC ROWS BETWEEN 25 PRECEDING AND CURRENT ROW",
    "ORDER BY md5(trade_date::text) ROWS BETWEEN 45 PRECEDING AND 2 FOLLOWING",
    "ORDER BY trade_date ROWS BETWEEN 30 PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW",
    "ORDER BY trade_date ROWS BETWEEN 30 PRECEDING AND CURRENT ROW EXCLUDE TIES",
]


@pytest.mark.parametrize("frame", FRAMES)
def test_frames_equal_the_array_form(market, frame):
    """Every fifth close is NULL for one instrument, so that rows that do not count join and leave frames too."""
    rows = market.execute(
        f"""
        SELECT instrument_id, n, {AGG} OVER w AS vector, array_agg(trade_date) OVER w AS dates
          FROM (SELECT instrument_id, trade_date, volume, n,
                       CASE WHEN instrument_id <> 'X0002' OR n % 5 <> 0 THEN close END AS close
                  FROM (SELECT *, row_number() OVER (PARTITION BY instrument_id ORDER BY trade_date) AS n FROM prices_daily) a) p
        WINDOW w AS (PARTITION BY instrument_id {frame})
        """
    ).fetchall()
    wanted = market.execute(
        """
        SELECT CASE WHEN count(close) >= 17 THEN
                    num_window_embed(coalesce(array_agg(close ORDER BY trade_date) FILTER (WHERE close IS NOT NULL), '{}'),
                                     coalesce(array_agg(volume ORDER BY trade_date) FILTER (WHERE close IS NOT NULL), '{}'), 20) END
          FROM ROWS FROM (unnest(%s::text[]), unnest(%s::int[]), unnest(%s::text[])) AS asked(id, at, dates)
          LEFT JOIN LATERAL (
            SELECT trade_date, volume, CASE WHEN id <> 'X0002' OR n %% 5 <> 0 THEN close END AS close
              FROM (SELECT *, row_number() OVER (ORDER BY trade_date) AS n FROM prices_daily WHERE instrument_id = id) a
             WHERE trade_date = ANY (dates::date[])) p ON true
         GROUP BY id, at ORDER BY id, at
        """,
        (
            [row[0] for row in rows],
            [row[1] for row in rows],
            ["{" + ",".join(str(day) for day in row[3] or []) + "}" for row in rows],
        ),
    ).fetchall()
    found = [(row[2],) for row in sorted(rows, key=lambda row: row[:2])]
    assert found == wanted
    assert sum(vector is not None for (vector,) in found) > 100


def test_long_frames_cost_no_more_than_short_ones(market):
    """A frame that moves costs one row in and one out. Frames of 20 and of 2,000 rows over 6,000 rows: recomputing
    the longer ones would take a hundred times as long."""
    query = """SELECT count(num_window_agg(d, 100 + sin(i), i, 20, 'num-regime-core-v1') OVER (ORDER BY d ROWS BETWEEN {} PRECEDING AND CURRENT ROW))
                 FROM (SELECT i, date '2000-01-01' + i AS d FROM generate_series(1, 6000) i) s"""
    import time

    def seconds(rows):
        start = time.monotonic()
        market.execute("SELECT count(*) FROM (" + query.replace("count(", "(", 1).format(rows) + ") s")
        return time.monotonic() - start

    short, long = (min(seconds(rows) for _ in range(3)) for rows in (19, 1999))
    assert long < 10 * short, (short, long)


def test_arguments_that_change_within_a_group_or_frame(market):
    for argument, call in {
        "window_days": "num_window_agg(trade_date, close, volume, 20 + (trade_date = '2024-06-20')::int, 'num-regime-core-v1')",
        "model_id": "num_window_agg(trade_date, close, volume, 20, CASE WHEN trade_date = '2024-06-20' THEN 'numeric-simple-v1' ELSE 'num-regime-core-v1' END)",
    }.items():
        for over in ("", "OVER (ORDER BY trade_date ROWS BETWEEN 19 PRECEDING AND CURRENT ROW)"):
            with fails("22023", f'argument "{argument}" must be the same on every row of a group'):
                market.execute(f"SELECT {call} {over} FROM prices_daily WHERE instrument_id = 'X0001'")
    # One per partition is fine.
    assert market.execute(
        """SELECT count(DISTINCT octet_length(v)) FROM (
             SELECT num_window_agg(trade_date, close, volume, w, 'numeric-simple-v1') OVER (PARTITION BY w ORDER BY trade_date ROWS BETWEEN 29 PRECEDING AND CURRENT ROW) AS v
               FROM prices_daily, unnest(ARRAY[10, 20]) w WHERE instrument_id = 'X0001') s"""
    ).fetchone() == (2,)


def test_no_expression_reaches_a_state(market):
    """Partial states are `internal`: SQL cannot make one, and nobody but a superuser can define an aggregate over them."""
    for call in ("num_window_deserialize('\\x00', NULL)", "num_window_deserialize('\\x00'::bytea, 0)", "num_window_final('\\x00'::bytea)"):
        with fails("42883"):
            market.execute(f"SELECT {call}")
    for call in ("num_window_deserialize('\\x00'::bytea, NULL::internal)", "num_window_serialize('x'::internal)"):
        with fails("42846", "to internal"):
            market.execute(f"SELECT {call}")
    role = market.info.dbname
    market.execute(f"CREATE ROLE {role}; GRANT CREATE ON SCHEMA public TO {role}; SET ROLE {role}")
    try:
        with fails("42P13"):
            market.execute("CREATE AGGREGATE stolen(internal) (SFUNC = num_window_combine, STYPE = internal, FINALFUNC = embed_price_series_pack)")
    finally:
        market.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")
