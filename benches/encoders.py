"""The v2 encoders against the published ones: what a better vector costs.

The same backfill with the published id and with the v2 id, in turn, over the same rows:

  numeric    2,000 instruments x 1,500 days, windows of 63, 126 and 252 days, one date, 2, 5 and 250 dates
  named      portfolios by their reports, issuers by their fundamentals (published: windows of 126 days)
  joint      profiles, states and portfolios from vectors that are there

Seconds are processor time of the backend, which other work on the machine does not move; no parallel workers.
The figure to watch is the last column, the ratio of the minima: at most 1.3. BENCH_ROUNDS rounds; three times as many for
one to five dates, and at most three for many.

Run it with: make bench, or scripts/bench.sh encoders
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

import harness  # noqa: E402
from numeric import FILL  # noqa: E402  (the same prices as its benchmark)

INSTRUMENTS = int(os.environ.get("BENCH_INSTRUMENTS", "2000"))
DAYS = int(os.environ.get("BENCH_DAYS", "1500"))
RANGE = int(os.environ.get("BENCH_RANGE", "250"))
# Rows of a window computed for one date, for few and for many: three ways, each with costs of its own.
DATES = (1, 2, 5, RANGE)
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
ONLY = os.environ.get("BENCH_ONLY", "")
LIMIT = 1.3

# Reports and profiles as rich as those of a real book: twelve exposures, seven risks, fifteen fundamentals.
ENTITIES = """
INSERT INTO issuers (issuer_id, issuer_type, name)
SELECT format('ISS%s', lpad(i::text, 5, '0')), 'COMPANY', 'x' FROM generate_series(1, {instruments}) AS i;
UPDATE instruments SET issuer_id = 'ISS' || substr(instrument_id, 2, 5);
INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags)
SELECT issuer_id, '{day}', jsonb_build_object('sector', 'x', 'note', 'text', 'fundamentals', jsonb_build_object(
         'gross_margin', n % 80 / 100.0, 'op_margin', n % 40 / 100.0, 'net_margin', n % 30 / 100.0, 'leverage', 1 + n % 9,
         'PERatio', 5 + n % 40, 'PEGRatio', 1 + n % 3, 'PriceBookMRQ', 1 + n % 7, 'PriceSalesTTM', 1 + n % 5,
         'DividendYield', n % 6 / 100.0, 'totalRevenue', 1e8 * (1 + n % 1000), 'totalAssets', 1e9 * (1 + n % 100)),
         'behaviour', jsonb_build_object('price_vol_63d', 0.01 + n % 5 / 100.0, 'price_dd_63d', 0.1 + n % 4 / 10.0,
         'price_trend_63d', n % 7 / 50.0)), '{{}}'
  FROM (SELECT issuer_id, hashint4(substr(issuer_id, 4)::int) & 65535 AS n FROM issuers) i;
INSERT INTO portfolio_risk_reports (report_id, portfolio_id, as_of_date, portfolio_value, cash, net_exposure, gross_exposure,
                                    leverage, risk_metrics, exposures_by_sector, exposures_by_factor)
SELECT 'R' || i, format('P%s', lpad(i::text, 5, '0')), '{day}', 1e6, 1e4, 0.8, 1.2, 1.3,
       jsonb_build_object('vol_21d', 0.1 + i % 9 / 50.0, 'vol_63d', 0.15, 'var_95', -0.02, 'expected_shortfall', -0.03,
                          'max_drawdown', -0.1, 'beta', 1.1, 'n_positions', 40 + i % 30),
       (SELECT jsonb_object_agg('sector ' || s, (hashint4(i * 31 + s) & 255) / 1024.0) FROM generate_series(1, 11) s),
       jsonb_build_object('value', i % 7 / 7.0, 'momentum', i % 5 / 5.0)
  FROM generate_series(1, {instruments}) AS i;
VACUUM (FREEZE, ANALYZE) profiles;
VACUUM (FREEZE, ANALYZE) portfolio_risk_reports;
ANALYZE issuers;
ANALYZE instruments
"""


class Bench:
    """One database with prices, profiles and reports."""

    def __init__(self):
        self.server = harness.cluster()
        self.name = harness.database(self.server)
        self.session = self.server.connect(self.name)
        self.run_all(FILL.format(instruments=INSTRUMENTS, days=DAYS))
        days = self.session.execute("SELECT DISTINCT trade_date FROM prices_daily ORDER BY 1").fetchall()
        self.days, self.last = [day for (day,) in days], days[-1][0]
        self.run_all(ENTITIES.format(instruments=INSTRUMENTS, day=self.last))
        self.session.execute("SET max_parallel_workers_per_gather = 0")
        self.worst = {}

    def run_all(self, script):
        for statement in script.split(";\n"):
            if statement.strip():
                self.session.execute(statement)

    def cpu(self, query, expected):
        """Processor seconds of the backend; a run that does not write every row is no measurement."""
        self.session.execute("CHECKPOINT")
        before = self.cpu_clock()
        (written,) = self.session.execute(query).fetchone()
        seconds = self.cpu_clock() - before
        if written != expected:
            sys.exit(f"{query} wrote {written} rows, not {expected}")
        return seconds

    def cpu_clock(self):
        with open(f"/proc/{self.session.info.backend_pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[0]) / 1e9

    def compare(self, title, expected, target, published, ours, rounds=ROUNDS, before="SELECT"):
        """Both queries in turn; prints minima and their ratio."""
        if ONLY not in title:
            return
        times = ([], [])
        for _ in range(rounds):
            for query, seconds in zip((published, ours), times):
                self.session.execute(f"TRUNCATE {target}")
                self.session.execute(before)
                seconds.append(self.cpu(query, expected))
        best = [min(seconds) for seconds in times]
        self.worst[title] = best[1] / best[0]
        print(f"  {title:46} {best[0]:10.3f} {best[1]:8.3f} {best[1] / best[0]:7.2f}", flush=True)

    def numeric(self, published, ours, window):
        def query(days, model):
            return (f"SELECT count(*) FROM backfill_numeric({days}, {window}, 'US_EQ', model_id => '{model}')"
                    " WHERE status = 'inserted'")

        target, title = "numeric_window_embeddings", f"{ours}, {window} days"
        for dates in DATES:
            days = f"date '{self.days[-dates]}', date '{self.last}'" if dates > 1 else f"date '{self.last}'"
            # A tenth of a second is soon doubled by what else the machine does.
            self.compare(f"{title}, {dates} dates" if dates > 1 else f"{title}, one date", INSTRUMENTS * dates, target,
                         query(days, published), query(days, ours), 3 * ROUNDS if dates < RANGE else min(ROUNDS, 3))

    def named(self):
        day, target = f"date '{self.last}'", "numeric_window_embeddings"
        inserted = "WHERE status = 'inserted'"
        self.compare(
            "num-portfolio-core-v2", INSTRUMENTS, target,
            f"SELECT count(*) FROM backfill_numeric_portfolio({day}, max_entities => NULL) {inserted}",
            f"SELECT count(*) FROM backfill_numeric_profile({day}, model_id => 'num-portfolio-core-v2', entity_type => 'PORTFOLIO',"
            f" source => 'portfolio_risk_reports', entity_column => 'portfolio_id') {inserted}")
        self.compare(
            "num-profile-core-v2", INSTRUMENTS, target,
            f"SELECT count(*) FROM backfill_numeric({day}, 126, 'US_EQ', model_id => 'num-profile-core-v1') {inserted}",
            f"SELECT count(*) FROM backfill_numeric_profile({day}) {inserted}")

    def joint(self):
        """Branches once, then the spaces."""
        day, session = f"date '{self.last}'", self.session
        session.execute("TRUNCATE numeric_window_embeddings, text_embeddings")
        for model, window in (("num-profile-core-v1", 126), ("num-regime-core-v1", 63), ("num-stab-core-v1", 63),
                              ("num-regime-core-v2", 126), ("num-stab-core-v2", 63)):
            session.execute(f"SELECT count(*) FROM backfill_numeric({day}, {window}, 'US_EQ', model_id => '{model}')")
        session.execute(f"SELECT count(*) FROM backfill_numeric_portfolio({day}, max_entities => NULL)")
        session.execute(f"SELECT count(*) FROM backfill_numeric_profile({day}, model_id => 'num-portfolio-core-v2',"
                        " entity_type => 'PORTFOLIO', source => 'portfolio_risk_reports', entity_column => 'portfolio_id')")
        session.execute(f"""INSERT INTO text_embeddings (source_type, source_id, model_id, vector)
            SELECT 'PROFILE', issuer_id || ':{self.last}', 'text-profile-v1', l2_normalize(vector_from_array(
                     ARRAY(SELECT sin(hashint4(n * 1000 + d)) FROM generate_series(1, 384) d)))
              FROM (SELECT issuer_id, substr(issuer_id, 4)::int AS n FROM issuers) i""")
        session.execute("ANALYZE numeric_window_embeddings, text_embeddings")
        inserted, target = "WHERE status = 'inserted'", "joint_embeddings"
        # Published states are made of joint profiles, too: those must be there.
        profiles = f"SELECT count(*) FROM backfill_joint_profiles({day}, max_entities => NULL)"
        for name, call, before in (
            ("joint-profile-core", f"backfill_joint_profiles({day}, max_entities => NULL, joint_model_id => '{{}}')", "SELECT"),
            ("joint-stab-fragility", f"backfill_joint_stab_fragility({day}, 'US_EQ', max_entities => NULL, joint_model_id => '{{}}')",
             profiles),
            ("joint-portfolio-core", f"backfill_joint_portfolios({day}, max_entities => NULL, joint_model_id => '{{}}')", "SELECT"),
        ):
            query = f"SELECT count(*) FROM {call} {inserted}"
            self.compare(f"{name}-v2", INSTRUMENTS, target, query.format(f"{name}-v1"), query.format(f"{name}-v2"), before=before)


def main():
    bench = Bench()
    try:
        harness.print_machine(bench.session)
        print(f"{INSTRUMENTS} instruments x {DAYS} days; {ROUNDS} rounds, processor seconds, minima\n")
        print(f"  {'':46} {'published':>10} {'v2':>8} {'ratio':>7}")
        for published, ours, windows in (("num-regime-core-v1", "num-regime-core-v2", (63, 126, 252)),
                                         ("num-stab-core-v1", "num-stab-core-v2", (63,))):
            for window in windows:
                bench.numeric(published, ours, window)
        bench.named()
        bench.joint()
        over = [f"{title} ({ratio:.2f})" for title, ratio in bench.worst.items() if ratio > LIMIT]
        print(f"\n  more than {LIMIT} x the published one: {', '.join(over) or 'none'}")
    finally:
        bench.session.close()
        bench.server.drop_database(bench.name)


if __name__ == "__main__":
    harness.run("encoders", main)
