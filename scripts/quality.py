"""What `make quality` prints: for every model and joint space, how often the nearest are of the same kind.
scripts/quality.sh DATE...: at these dates instead of the two of the documentation.

Same-sector precision at 10: for each issuer that has a sector and a vector, the share of its ten nearest others (by
cosine, ties by id) with that sector, averaged; same-industry precision at 5 likewise. Everything runs in SQL, in a
database of its own; nothing is fitted on sectors or industries, which only the last query reads.
"""

import os
import sys
import time
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "t"))
from cluster import Cluster, install  # noqa: E402
from realdata import SHARED, load_sp500, read_csv  # noqa: E402

NAMES = "MSFT XOM JNJ KO AMZN HD WFC DUK EQR LUV".split()
JOINT = "joint-profile-core-v2"

# One vector per issuer: its own, or that of its first equity in byte order, as the joint profiles choose.
VECTORS = """
CREATE TEMP TABLE v AS
SELECT i.issuer_id, r.instrument_id, i.sector, i.industry, x.vector
  FROM issuers i
  JOIN (SELECT DISTINCT p.issuer_id FROM profiles p) p USING (issuer_id)
  JOIN LATERAL (SELECT s.instrument_id FROM instruments s WHERE s.issuer_id = i.issuer_id AND s.asset_class = 'EQUITY'
                 ORDER BY s.instrument_id COLLATE "C" LIMIT 1) r ON true
  JOIN LATERAL ({source}) x ON true
 WHERE i.sector IS NOT NULL AND x.vector IS NOT NULL
"""
NUMERIC = """SELECT e.vector FROM numeric_window_embeddings e WHERE e.entity_id IN (r.instrument_id, i.issuer_id)
    AND e.model_id = %(model)s AND e.as_of_date = %(day)s AND e.window_spec ->> 'window_days' = %(window)s LIMIT 1"""
TEXT = """SELECT e.vector FROM text_embeddings e WHERE e.source_type = 'PROFILE' AND e.model_id = %(model)s
    AND e.source_id = i.issuer_id || ':' || %(day)s"""
JOINED = """SELECT e.vector FROM joint_embeddings e WHERE e.model_id = %(model)s AND e.as_of_date = %(day)s
    AND e.entity_scope ->> 'issuer_id' = i.issuer_id LIMIT 1"""
STATE = """SELECT e.vector FROM joint_embeddings e WHERE e.model_id = %(model)s AND e.as_of_date = %(day)s
    AND e.entity_scope ->> 'entity_id' = r.instrument_id LIMIT 1"""
NAMED = """SELECT e.vector FROM numeric_window_embeddings e WHERE e.entity_type = 'ISSUER' AND e.entity_id = i.issuer_id
    AND e.model_id = %(model)s AND e.as_of_date = %(day)s LIMIT 1"""
PRECISION = """
WITH near AS (
    SELECT a.issuer_id, (a.sector = b.sector)::int AS sector, coalesce(a.industry = b.industry, false)::int AS industry,
           row_number() OVER (PARTITION BY a.issuer_id ORDER BY cosine_sim(a.vector, b.vector) DESC, b.issuer_id COLLATE "C") AS rank
      FROM v a JOIN v b ON a.issuer_id <> b.issuer_id)
SELECT (SELECT count(*) FROM v), avg(sector) FILTER (WHERE rank <= 10), avg(industry) FILTER (WHERE rank <= 5) FROM near
"""
CHANCE = "SELECT sum(n * (n - 1.0)) / (sum(n) * (sum(n) - 1)) FROM (SELECT count(*) AS n FROM v GROUP BY {}) c"
# How far the ten nearest are from each other in what comes next, beside how far any two are: the volatility of the
# quarter after the date, in logarithms.
CALM = """
WITH later AS MATERIALIZED (
    SELECT w.instrument_id, ln(sqrt(avg(w.r * w.r))) AS volatility
      FROM (SELECT p.instrument_id, ln(p.adjusted_close / lag(p.adjusted_close) OVER d) AS r, row_number() OVER d AS n
              FROM prices_daily p WHERE p.trade_date >= %(day)s AND p.adjusted_close > 0
            WINDOW d AS (PARTITION BY p.instrument_id ORDER BY p.trade_date)) w
     WHERE w.n <= 64 GROUP BY 1 HAVING count(w.r) = 63 AND max(abs(w.r)) > 0),
near AS (
    SELECT abs(x.volatility - y.volatility) AS apart, row_number() OVER (
             PARTITION BY a.issuer_id ORDER BY cosine_sim(a.vector, b.vector) DESC, b.issuer_id COLLATE "C") AS rank
      FROM v a JOIN v b ON a.issuer_id <> b.issuer_id
      JOIN later x ON x.instrument_id = a.instrument_id JOIN later y ON y.instrument_id = b.instrument_id)
SELECT avg(apart) FILTER (WHERE rank <= 10) / nullif(avg(apart), 0) FROM near
"""
# Named features of an issuer out of its prices, for num-profile-core-v2.
BEHAVIOUR = """
CREATE VIEW behaviour AS
SELECT p.issuer_id, p.as_of_date, jsonb_build_object('price_vol_63d', stddev(w.r), 'price_dd_63d', 1 - min(w.p) / max(w.p),
         'price_trend_63d', sum(w.r), 'volume_trend', regr_slope(ln(w.v), w.n), 'price_dd_252d', max(w.year)) AS features
  FROM profiles p
  JOIN LATERAL (SELECT s.instrument_id FROM instruments s WHERE s.issuer_id = p.issuer_id AND s.asset_class = 'EQUITY'
                 ORDER BY s.instrument_id COLLATE "C" LIMIT 1) i ON true
  JOIN LATERAL (SELECT q.adjusted_close AS p, nullif(q.volume, 0) AS v, row_number() OVER d AS n,
                       ln(q.adjusted_close / lag(q.adjusted_close) OVER d) AS r,
                       1 - q.adjusted_close / max(q.adjusted_close) OVER () AS year
                  FROM prices_daily q
                 WHERE q.instrument_id = i.instrument_id AND q.trade_date > p.as_of_date - 365 AND q.trade_date <= p.as_of_date
                   AND q.adjusted_close > 0 WINDOW d AS (ORDER BY q.trade_date)) w ON w.n > 189
 GROUP BY 1, 2
"""
NEIGHBOURS = """
SELECT string_agg(label, {separator} ORDER BY cosine DESC, issuer_id)
  FROM (SELECT b.issuer_id, {label} AS label, cosine_sim(a.vector, b.vector) AS cosine FROM v a JOIN v b ON a.issuer_id <> b.issuer_id
         WHERE a.issuer_id = %s ORDER BY 3 DESC, 1 LIMIT 5) n
"""
TICKER = "replace(b.issuer_id, 'ISS_', '')"
# Where there is no name that one would know, its sector tells what an issuer is.
SECTOR = "b.issuer_id || ' ' || b.sector"
# The first issuers of as many sectors as there are, then the second ones.
SPREAD = """SELECT {label}, b.issuer_id FROM v b ORDER BY row_number() OVER (PARTITION BY b.sector ORDER BY b.issuer_id COLLATE "C"),
    b.sector LIMIT %s"""


class Quality:
    """A database with data and the measurements on it."""

    def __init__(self, connection):
        self.connection = connection

    def one(self, query, *args, **named):
        return self.connection.execute(query, named or args or None).fetchone()

    def measure(self, source, **named):
        """Fills `v` and returns issuers, precision by sector and by industry."""
        self.connection.execute("DROP TABLE IF EXISTS v")
        self.connection.execute(VECTORS.format(source=source), named)
        return self.one(PRECISION)

    def row(self, label, source, **named):
        issuers, sector, industry = self.measure(source, **named)
        if issuers:
            print(f"| {label:<52} | {issuers:4} | {sector:.3f} | {industry:.3f} |", flush=True)
        return issuers

    def backfill(self, day, model, window, market):
        self.connection.execute(
            "SELECT count(*) FROM backfill_numeric(%s::date, %s, %s, model_id => %s)", (day, window, market, model)
        )

    def numeric(self, day, model, window, market):
        self.backfill(day, model, window, market)
        return self.row(f"{model}, {window} days", NUMERIC, model=model, day=day, window=str(window))

    def calm(self, day, model, window):
        """What the volatility to come says of a model's nearest, where prices go on."""
        self.measure(NUMERIC, model=model, day=day, window=str(window))
        return self.one(CALM, day=day)[0]

    def joint(self, label, day, model):
        self.connection.execute(
            "SELECT count(*) FROM backfill_joint_profiles(%s::date, joint_model_id => %s)", (day, model)
        )
        return self.row(label, JOINED, model=model, day=day)

    def states(self, day, model, market):
        """The state of an issuer's first equity."""
        self.connection.execute(
            "SELECT count(*) FROM backfill_joint_stab_fragility(%s::date, %s, max_entities => NULL, joint_model_id => %s)",
            (day, market, model),
        )
        return self.row(model, STATE, model=model, day=day)

    def named(self, day, model, base=None):
        """Named features, with the scales of the catalog or those of the day."""
        if base:
            self.connection.execute(
                "SELECT * FROM fit_embedding_model(%s, %s, %s::date, features => 'behaviour')", (model, base, day)
            )
        self.connection.execute(
            "SELECT count(*) FROM backfill_numeric_profile(%s::date, model_id => %s, source => 'behaviour')", (day, model)
        )
        return self.row(model, NAMED, model=model, day=day)


def has(connection, function):
    query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_proc WHERE proname = %s)"
    return connection.execute(query, (function,)).fetchone()[0]


def load(cluster, name, wanted):
    """Fills the database; returns a connection, the dates and the market."""
    connection = cluster.connect(name)
    install(connection)
    if (SHARED / "sp500").is_dir():
        load_sp500(connection, SHARED / "sp500")
        # The descriptions are of one date; the same texts stand for the others.
        days = wanted or ["2018-12-31", "2018-06-29"]
        connection.execute(
            "INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags)"
            " SELECT issuer_id, day, structured, risk_flags FROM profiles, unnest(%s::date[]) day ON CONFLICT DO NOTHING", (days,)
        )
        return connection, days, "US_EQ", "the S&P 500 data of ../shared"
    done = cluster.psql(name, "\\i demo/generate.sql\n")
    if done.returncode != 0:
        raise SystemExit(done.stdout)
    days = [str(day) for (day,) in connection.execute("SELECT DISTINCT as_of_date FROM profiles ORDER BY 1 DESC LIMIT 2")]
    return connection, wanted or days, "US_EQ", "the generated demo universe"


def texts(connection, days):
    """Embeds the profiles: by the text model if `make model` made it, else from the recorded vectors."""
    try:
        for day in days:
            connection.execute("SELECT count(*) FROM backfill_profile_text(%s::date)", (day,))
        return
    except psycopg.Error as error:
        print(f"no text model here ({str(error).splitlines()[0]}): recorded vectors are used")
    recorded = SHARED / "oracle" / "text_embeddings.csv.gz"
    if not recorded.exists():
        return
    for row in read_csv(recorded):
        for day in days:
            connection.execute(
                "INSERT INTO text_embeddings (source_type, source_id, model_id, vector)"
                " VALUES ('PROFILE', %s, 'text-profile-v1', decode(%s, 'hex')) ON CONFLICT DO NOTHING",
                (row["source_id"].split(":")[0] + ":" + day, row["vector_hex"]),
            )


def fitted(quality, day, market):
    """Fits factors and components to what is known at `day`, and measures what they give."""
    connection = quality.connection
    factors, text, joint = f"factors-{day}", f"text-pca-{day}", f"joint-fitted-{day}"
    connection.execute("SELECT * FROM fit_embedding_model(%s, 'num-regime-core-v2', %s::date, 756, 30)", (factors, day))
    quality.numeric(day, factors, 756, market)
    connection.execute("SELECT * FROM fit_embedding_model(%s, 'text-profile-v1', %s::date, components => 48)", (text, day))
    if has(connection, "register_joint_space"):
        register_fitted(connection, factors, text, joint)
        quality.joint("joint of factors and text components (fitted)", day, joint)


def register_fitted(connection, factors, text, joint):
    """A joint space of 30 factors and 48 text components."""
    connection.execute(
        """SELECT register_joint_space('PROFILE_CORE_V0', %s, 'ISSUER', jsonb_build_array(
             jsonb_build_object('name', 'factors', 'weight', 0.5, 'required', true, 'dims', 30,
               'table', 'numeric_window_embeddings', 'entity_type', 'INSTRUMENT', 'model_id', %s::text),
             jsonb_build_object('name', 'text', 'weight', 0.5, 'required', true, 'dims', 48, 'transform', %s::text,
               'table', 'text_embeddings', 'entity_type', 'ISSUER', 'model_id', 'text-profile-v1', 'source_type', 'PROFILE')),
             fusion => 'concat', entities => 'profiles')""",
        (joint, factors, text),
    )


def report(quality, day, market):
    connection = quality.connection
    print(f"\n### {day}\n\n| model or space | issuers | sector@10 | industry@5 |\n|---|---|---|---|")
    for model, windows in (
        ("num-regime-core-v1", (126, 63)),
        ("num-stab-core-v1", (63,)),
        ("num-profile-core-v1", (126,)),
        ("num-stab-core-v2", (63,)),
        ("num-regime-core-v2", (63, 126, 252, 504)),
    ):
        for window in windows:
            quality.numeric(day, model, window, market)
    quality.named(day, "num-profile-core-v2")
    quality.named(day, f"num-profile-fitted-{day}", "num-profile-core-v2")
    quality.row("text-profile-v1", TEXT, model="text-profile-v1", day=day)
    if has(connection, "backfill_joint_profiles"):
        quality.joint("joint-profile-core-v1 (published)", day, "joint-profile-core-v1")
        for window in (126, 252):
            # The newest regime row of a date is the one the joint takes.
            connection.execute("DELETE FROM numeric_window_embeddings WHERE model_id = 'num-regime-core-v2'")
            quality.backfill(day, "num-regime-core-v2", window, market)
            quality.joint(f"{JOINT} on {window} days", day, JOINT)
        quality.states(day, "joint-stab-fragility-v1", market)
        quality.states(day, "joint-stab-fragility-v2", market)
    sector, industry = (quality.one(CHANCE.format(column))[0] for column in ("sector", "industry"))
    print(f"| chance{'':<46} |      | {sector:.3f} | {industry:.3f} |")
    neighbours(quality, day)
    fitted(quality, day, market)
    apart = [(model, quality.calm(day, model, 63)) for model in ("num-stab-core-v1", "num-stab-core-v2")]
    if apart[0][1] is not None:
        told = "; ".join(f"{model} {share:.3f}" for model, share in apart)
        print(f"\nnext quarter's volatility, how far the ten nearest are apart beside any two: {told}")


def neighbours(quality, day):
    """The five nearest of ten well-known names, published and v2, as rows of a second table; of ten issuers from as many
    sectors where none of these names is there."""
    quality.measure(JOINED, model=JOINT, day=day)
    known = {issuer for (issuer,) in quality.connection.execute("SELECT issuer_id FROM v").fetchall()}
    names = [(name, f"ISS_{name}") for name in NAMES if f"ISS_{name}" in known]
    label, separator = (TICKER, "' '") if names else (SECTOR, "', '")
    names = names or quality.connection.execute(SPREAD.format(label=label), [len(NAMES)]).fetchall()
    found = []
    for model in ("joint-profile-core-v1", JOINT):
        quality.measure(JOINED, model=model, day=day)
        nearest = NEIGHBOURS.format(label=label, separator=separator)
        found.append([(quality.one(nearest, issuer) or [None])[0] or "" for _, issuer in names])
    quality.neighbours = [f"| {name} | {old} | {new} |" for (name, _), old, new in zip(names, *found, strict=True)]


def main():
    started = time.monotonic()
    cluster = Cluster(os.environ)
    name = cluster.create_database(prefix="quality")
    connection, days, market, what = load(cluster, name, sys.argv[1:])
    connection.execute(BEHAVIOUR)
    print(f"On {what}.")
    texts(connection, days)
    quality = Quality(connection)
    quality.neighbours = []
    tables = []
    for day in days:
        report(quality, day, market)
        tables.append((day, quality.neighbours))
    for day, rows in tables[:1]:
        if rows:
            print(f"\n### Neighbours at {day}\n\n| name | joint-profile-core-v1 | {JOINT} |\n|---|---|---|", *rows, sep="\n")
    print(f"\ntook {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
