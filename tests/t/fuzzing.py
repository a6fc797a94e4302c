"""Random calls of every function, aggregate and procedure of the extension, as SQL text.

What there is to call is read from the catalogs, so a new function is covered without a line here. An argument's
value comes from a pool of its type, or, by its name, from values that lead deeper: registered ids, dates with data,
specs with a key changed. The same seed over the same catalogs gives the same statements.
"""

import json
import random
import re
from dataclasses import dataclass

ROUTINES = """
SELECT p.oid::regprocedure::text AS signature, quote_ident(n.nspname) || '.' || quote_ident(p.proname) AS name,
       p.prokind::text AS kind, p.proretset AS set, p.prorettype::regtype::text AS result, p.procost AS cost,
       p.pronargdefaults AS defaults, p.provolatile = 'i' AS pure,
       ARRAY(SELECT t::regtype::text FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY u(t, i) ORDER BY i) AS types,
       coalesce(p.proargnames[1:p.pronargs], '{}') AS names
  FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
  JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'prometheus_embed'
 ORDER BY p.oid::regprocedure::text COLLATE "C"
"""


@dataclass
class Routine:
    """One row of ROUTINES."""

    signature: str
    name: str
    kind: str
    set: bool
    result: str
    cost: float
    defaults: int
    pure: bool
    types: list
    names: list


def routines(connection):
    """What the extension has in this database."""
    return [Routine(*row) for row in connection.execute(ROUTINES).fetchall()]


def quoted(text):
    """A string constant; psycopg's % is none of its business, since statements travel as parameters."""
    return "'" + text.replace("'", "''") + "'"


INTEGERS = [0, 1, -1, 2, 3, 5, 10, 63, 64, 100, 126, 252, 384, 1000, 4095, 16000, 65535, 65536, 1 << 20]
INTEGERS += [2**31 - 1, -(2**31), 2**31 - 2]
LONGS = [*INTEGERS, 2**31, 2**53, 2**63 - 1, -(2**63)]
FLOATS = ["0", "-0", "1", "-1", "0.5", "1e-45", "1e-300", "5e-324", "3.4e38", "1e39", "1.7976931348623157e308"]
FLOATS += ["NaN", "Infinity", "-Infinity", "123.456", "100", "0.1", "16777217", "-1e-7"]
DATES = ["infinity", "-infinity", "4713-01-01 BC", "0001-01-01 BC", "0001-01-01", "1969-12-31", "1970-01-01"]
DATES += ["2000-02-29", "9999-12-31", "10000-01-01", "294276-12-31", "5874897-12-31"]
KNOWN_DATES = ["2024-06-28", "2024-06-27", "2024-06-03", "2024-05-15", "2024-03-29", "2023-12-29", "2024-07-15"]
TEXTS = ["", " ", "a", "x" * 64, "x" * 300, "%s%n%x", "'; DROP TABLE prices_daily; --", '"', "'", "\\", "a\nb\tc", "\u0001"]
TEXTS += ["\u202e\u0645\u0631", "e" + "\u0301" * 200, "\U0001f4c8", "../../etc/passwd", "/etc/passwd", "NaN", "infinity"]
TEXTS += ["null", "{}", "public.prices_daily", "pg_catalog", "2024-06-28", "63", "$1", "--", "/*", "\u0130\u00df", "CON", "*"]
MODELS = ["num-regime-core-v1", "num-stab-core-v1", "num-profile-core-v1", "num-scenario-core-v1", "num-portfolio-core-v1"]
MODELS += ["numeric-simple-v1", "num-regime-core-v2", "num-stab-core-v2", "num-portfolio-core-v2", "num-profile-core-v2"]
MODELS += ["joint-profile-core-v1", "joint-portfolio-core-v1", "joint-stab-fragility-v1", "joint-profile-core-v2"]
MODELS += ["text-profile-v1", "fuzz-own", "nobody-v1", "NUM-REGIME-CORE-V1"]
# Models of the kind that a routine's name speaks of; of prices where it speaks of none.
KINDS = {
    r".*(joint|similar|explain_similarity|cross_sections|space)": ["joint-profile-core-v1", "joint-portfolio-core-v1", "joint-stab-fragility-v1", "joint-profile-core-v2"],
    r".*(text|profile_document)": ["text-profile-v1"],
    r".*scenario": ["num-scenario-core-v1"],
    r".*portfolio": ["num-portfolio-core-v1", "num-portfolio-core-v2"],
    r".*numeric_profile": ["num-profile-core-v2", "num-portfolio-core-v2"],
    r".*check_rows": ["num-portfolio-core-v1", "num-portfolio-core-v2", "num-profile-core-v2", "text-profile-v1"],
    r".*fit_embedding": ["num-regime-core-v2", "num-stab-core-v2", "text-profile-v1", "num-profile-core-v2"],
}
# By argument name: the values that mean something. Any other argument, and one in four of these, takes its type's.
BY_NAME = {
    "model_id": MODELS,
    "numeric_model_id|num.*_model_id|portfolio_model_id": ["num-profile-core-v1", "num-portfolio-core-v1", *MODELS],
    "text_model_id": ["text-profile-v1", *MODELS],
    "joint_model_id": ["joint-profile-core-v1", "joint-portfolio-core-v1", *MODELS],
    r".*_model_id": MODELS,
    "method": ["exact", "exact", "hnsw", "EXACT"],
    "on_existing": ["replace", "skip", "append", "update", "UPDATE", ""],
    "joint_type": ["PROFILE_CORE_V0", "PORTFOLIO_CORE_V0", "STAB_FRAGILITY_V0", "FUZZ_V0", "profile_core_v0"],
    "entity_type": ["INSTRUMENT", "ISSUER", "PORTFOLIO", "SCENARIO", "instrument"],
    "market_id": ["M", "m", ""],
    "instrument_id|entity|entity_id|a|b": ["X0001", "X0002", "X0003", "I", "P1", "x0001"],
    "issuer_id": ["I", "J", "X0001"],
    "portfolio_id": ["P1", "P2"],
    "scenario_set_id": ["S1", "S2"],
    "region": ["X", "US", "EU"],
    "source_type": ["PROFILE", "FILING"],
    "fusion": ["average", "blend", "identity", "concat", "sum"],
    "entities": ["profiles", "instruments", "branch", "rows"],
    "pooling": ["mean", "cls", "max"],
    "directory": ["all-MiniLM-L6-v2", "..", ".", "/", "all-MiniLM-L6-v2/..", "nowhere"],
    "schema": ["public", "pg_catalog", "pg_temp", "nowhere", 'a"b'],
    "entity_column|date_column": ["issuer_id", "as_of_date", "instrument_id", "trade_date", "xmin", 'a"b', "nothing"],
    "encoder": ["named", "text", "portfolio"],
    "procedure": ["backfill_numeric_range", "x"],
    "condition": ["true", "instrument_id = 'X0001'", "1 = 1"],
}
# Columns of bytes that a call hands to another one.
HANDED = {"embed_numeric_job_scope": "scope", "embed_numeric_job_read": "pool"}
SCOPES = ['{"entity_id": "X0001"}', '{"portfolio_id": "P1"}', '{"issuer_id": "I"}', '{"entity_type": "INSTRUMENT"}', "{}"]
RELATIONS = ["prices_daily", "instruments", "profiles", "portfolio_risk_reports", "scenario_sets", "scenario_paths"]
RELATIONS += ["numeric_window_embeddings", "text_embeddings", "joint_embeddings", "embed_models", "embed_jobs"]
RELATIONS += ["markets", "fuzz_view", "fuzz_foreign", "fuzz_parted", "fuzz_matview", "fuzz_empty", "fuzz_types", "fuzz_raises"]
RELATIONS += ["fuzz_sequence", "fuzz_index", "fuzz_hostile", "pg_catalog.pg_class", "fuzz_dropped", "fuzz_nulls", "fuzz_temp"]

# Arguments that are not called as the table that is meant by them.
MEANT = {
    "target": RELATIONS[6:9], "embeddings": RELATIONS[6:9], "numeric_embeddings": RELATIONS[6:7], "prices": RELATIONS[:1],
    "reports": RELATIONS[3:4], "source": RELATIONS[2:4],
}  # fmt: skip

TARGETS = {"numeric": RELATIONS[6], "text": RELATIONS[7], "joint": RELATIONS[8]}
JOINT = [["PROFILE_CORE_V0", "joint-profile-core-v1", "joint-profile-core-v2"], ["PORTFOLIO_CORE_V0", "joint-portfolio-core-v1", "joint-portfolio-core-v2"]]
JOINT += [["STAB_FRAGILITY_V0", "joint-stab-fragility-v1", "joint-stab-fragility-v2"]]

# Objects that arguments of type regclass may name, and some data for what reads the tables.
OBJECTS = """
CREATE VIEW fuzz_view AS SELECT * FROM prices_daily;
CREATE MATERIALIZED VIEW fuzz_matview AS SELECT * FROM prices_daily WHERE instrument_id < 'X0003';
CREATE TABLE fuzz_parted (LIKE prices_daily) PARTITION BY LIST (instrument_id);
CREATE TABLE fuzz_part PARTITION OF fuzz_parted DEFAULT;
INSERT INTO fuzz_parted SELECT * FROM prices_daily;
CREATE TABLE fuzz_empty (LIKE prices_daily);
CREATE TABLE fuzz_nulls AS SELECT instrument_id, trade_date, NULL::float8 AS close, NULL::float8 AS adjusted_close,
       NULL::float8 AS volume, NULL::float8 AS high, NULL::float8 AS low FROM prices_daily;
CREATE VIEW fuzz_types AS SELECT instrument_id::bytea AS instrument_id, trade_date::timestamptz AS trade_date,
       close::text AS close, ARRAY[volume] AS volume, to_jsonb(adjusted_close) AS adjusted_close, 1 AS as_of_date,
       '{}'::jsonb AS issuer_id, 'x' AS structured, 7 AS vector, 'now' AS model_id FROM prices_daily;
CREATE VIEW fuzz_raises AS SELECT instrument_id, trade_date, close / (extract(day FROM trade_date)::int % 2) AS close,
       close AS adjusted_close, volume, high, low FROM prices_daily;
CREATE VIEW fuzz_hostile AS SELECT instrument_id, trade_date,
       CASE WHEN extract(day FROM trade_date)::int % 3 = 0 THEN 'NaN' WHEN extract(day FROM trade_date)::int % 3 = 1 THEN 'Infinity'
            ELSE -1e308 END::float8 AS close, 'NaN'::float8 AS adjusted_close, 1e308::float8 AS volume, -1::float8 AS high,
       'Infinity'::float8 AS low FROM prices_daily;
CREATE SEQUENCE fuzz_sequence;
CREATE INDEX fuzz_index ON fuzz_empty (trade_date);
CREATE TABLE fuzz_dropped (LIKE prices_daily);
ALTER TABLE fuzz_dropped DROP COLUMN open, DROP COLUMN close, ADD COLUMN close float8;
INSERT INTO fuzz_dropped (instrument_id, trade_date, high, low, adjusted_close, volume, currency, close)
       SELECT instrument_id, trade_date, high, low, adjusted_close, volume, currency, close FROM prices_daily;
CREATE TABLE fuzz_rows AS SELECT i, date '2024-01-01' + i % 180 AS d, sin(i) * 10 + 20 AS a, i % 17 AS b,
       decode(md5(i::text), 'hex') AS v, jsonb_build_object('entity_id', 'X000' || i % 9, 'region', 'X') AS j
  FROM generate_series(1, 3000) i;
INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags)
SELECT 'I', date '2024-06-28' - n, jsonb_build_object('business_description', 'makes ' || n, 'risk_summary', repeat('risk ', n),
       'price_vol_63d', 0.01 * n, 'gross_margin', 1e308, 'country', 'X'), '{}' FROM generate_series(0, 3) n;
INSERT INTO portfolio_risk_reports (report_id, portfolio_id, as_of_date, portfolio_value, cash, net_exposure, gross_exposure,
       leverage, risk_metrics, exposures_by_sector)
SELECT 'R' || n, 'P' || n, '2024-06-28', 1, 0, 0.9, 1.1, 1.2, '{"vol_21d": 0.2, "beta": "x", "var_95": null}',
       jsonb_build_object('tech', 0.1 * n) FROM generate_series(1, 3) n;
INSERT INTO scenario_sets (scenario_set_id, name, category, horizon_days, num_paths, base_date_end, generator_spec)
VALUES ('S1', 'one', 'x', 5, 3, '2024-06-28', '{}'), ('S2', 'two', 'x', 2147483647, -1, NULL, '{}');
INSERT INTO scenario_paths (scenario_set_id, scenario_id, horizon_index, instrument_id, factor_id, macro_id, return_value)
SELECT 'S1', s, h, 'X0001', '', '', 0.01 * s * h FROM generate_series(1, 3) s, generate_series(0, 5) h;
SELECT FROM backfill_numeric('2024-06-28'::date, market_id => 'M');
SELECT FROM backfill_numeric('2024-06-28'::date, market_id => 'M', model_id => 'num-profile-core-v1', window_days => 126);
SELECT FROM backfill_numeric('2024-06-28'::date, market_id => 'M', model_id => 'num-stab-core-v1');
SELECT FROM backfill_numeric('2024-06-28'::date, market_id => 'M', model_id => 'num-regime-core-v2');
SELECT FROM backfill_numeric_portfolio('2024-06-28');
SELECT FROM backfill_numeric_scenario('S1');
SELECT FROM backfill_joint_portfolios('2024-06-28');
INSERT INTO text_embeddings (source_type, source_id, model_id, vector)
SELECT 'PROFILE', issuer_id || ':' || as_of_date, 'text-profile-v1', l2_normalize(vector_from_array(array_fill(length(structured::text)::float8, ARRAY[384]) || ARRAY[]::float8[])) FROM profiles;
SELECT FROM backfill_joint_profiles(start_date => '2024-06-01', end_date => '2024-06-28');
SELECT FROM backfill_joint_stab_fragility('2024-06-28', market_id => 'M');
SELECT FROM backfill_joint_stab_scenarios('S1');
SELECT register_numeric_model('fuzz-own', (SELECT spec FROM embed_models WHERE model_id = 'num-regime-core-v1'));
CREATE FUNCTION fuzz_run(statements text[], keep boolean[])
    RETURNS TABLE (number int, code text, message text, milliseconds float8, kept text)
    LANGUAGE plpgsql AS $run$
DECLARE
    began timestamptz;
BEGIN
    FOR n IN 1 .. cardinality(statements) LOOP
        number := n; code := '00000'; message := NULL; kept := NULL; began := clock_timestamp();
        BEGIN
            IF keep[n] THEN
                EXECUTE statements[n] INTO kept;
            ELSE
                EXECUTE statements[n];
            END IF;
        EXCEPTION WHEN OTHERS THEN
            code := SQLSTATE; message := SQLERRM; kept := NULL;
        END;
        milliseconds := extract(epoch FROM clock_timestamp() - began) * 1000;
        RETURN NEXT;
    END LOOP;
END
$run$;
DO $$ BEGIN CREATE EXTENSION vector; EXCEPTION WHEN feature_not_supported OR undefined_file THEN NULL; END $$;
ANALYZE;
"""


class Generator:
    """Statements over `routines`; `specs` are documents that registering functions accept."""

    def __init__(self, seed, routines, specs):
        self.random = random.Random(seed)
        self.routines = routines
        self.specs = specs
        # How often an argument is odd: chosen anew for every call, so that some calls are nearly all right.
        self.odd = 0.3
        self.models, self.registers, self.joint, self.target = MODELS, None, None, None
        self.handed = {}
        # Results of calls, which are inputs of others: packed states, vectors.
        self.bytes = [b"", b"\0", b"\0" * 1536, b"\0\0\x80\x3f" * 384, b"\xff" * 64, b"\0\0\xc0\x7f" * 8]

    def learn(self, routine, printed):
        """Keeps a bytea that a call returned, as psql prints it."""
        column = HANDED.get(routine.name.split(".")[-1])
        if column and printed:
            self.handed.setdefault(column, []).append(bytes.fromhex(printed[2:]))
            del self.handed[column][:-40]
        elif printed and printed.startswith("\\x") and len(printed) < 8000:
            self.bytes.append(bytes.fromhex(printed[2:]))
            if len(self.bytes) > 400:
                del self.bytes[self.random.randrange(6, len(self.bytes))]

    def statement(self, routine):
        """A call; and whether its one value may be kept."""
        self.odd = self.random.choice([0.0, 0.02, 0.05, 0.3, 0.7])
        self.models = next((models for pattern, models in KINDS.items() if re.match(pattern, routine.name)), MODELS[:10])
        self.registers = re.match(r".*(register|fit_embedding)", routine.name)
        # A joint type's own models, and the table that the vectors of the routine's kind are in.
        self.joint, self.target = None, next((table for kind, table in TARGETS.items() if kind in routine.name), None)
        if "joint_type" in routine.names:
            self.joint = self.random.choice(JOINT)
            self.models = self.joint[1:]
        if routine.kind == "a":
            return self.aggregate(routine), routine.result == "bytea"
        given = len(routine.types)
        if routine.defaults and self.chance(0.7):
            given -= self.random.randint(0, routine.defaults)
        call = f"{routine.name}({', '.join(self.arguments(routine)[:given])})"
        if routine.kind == "p":
            return f"CALL {call}", False
        if (column := HANDED.get(routine.name.split(".")[-1])) and self.chance(0.8):
            return f"SELECT {column} FROM {call} x", True
        if routine.set and routine.result != "record" and self.chance(0.5):
            return f"SELECT count(*) FROM (SELECT * FROM {call} LIMIT {self.random.choice([0, 1, 1000])}) x", False
        return f"SELECT {call}", routine.result == "bytea" and not routine.set

    def arguments(self, routine):
        """One expression per argument."""
        return [self.value(kind, name) for kind, name in zip(routine.types, routine.names or routine.types, strict=True)]

    def aggregate(self, routine):
        """The aggregate over rows of constants (plainly, by group, over moving frames), or over a table, where it
        may run in parallel."""
        columns = [f"c{number}" for number in range(len(routine.types))]
        if self.chance(0.05):
            typed = {"date": "d", "double precision": "a", "bytea": "v", "jsonb": "j", "bigint": "i", "text": None, "integer": None}
            chosen = [typed.get(kind) or self.value(kind, name) for kind, name in zip(routine.types, routine.names)]
            return f"SELECT {routine.name}({', '.join(chosen)}) FROM fuzz_rows"
        steady = [self.value(kind, name) for kind, name in zip(routine.types, routine.names)]
        rows = []
        for _ in range(self.random.randint(1, 6)):
            fresh = self.arguments(routine)
            # What must be the same on every row mostly is.
            row = [
                old if "int" in kind or kind in ("text", "jsonb") and self.chance(0.9) else new
                for kind, old, new in zip(routine.types, steady, fresh)
            ]
            rows.append(f"({', '.join(row)})")
        call = f"{routine.name}({', '.join(columns)})"
        source = f"(VALUES {', '.join(rows)}) v({', '.join(columns)})"
        form = self.random.randrange(6)
        if form == 0:
            return f"SELECT {call} OVER (ORDER BY {columns[0]} ROWS BETWEEN {self.random.randrange(3)} PRECEDING AND CURRENT ROW) FROM {source}"
        if form == 1:
            return f"SELECT {call} FROM {source} GROUP BY {columns[-1]}"
        if form == 2:
            return f"SELECT {call} FILTER (WHERE {columns[0]} IS NOT NULL) FROM {source}"
        return f"SELECT {call} FROM {source}"

    def chance(self, probability):
        """True that often."""
        return self.random.random() < probability

    def value(self, kind, name):
        """An expression of type `kind` for an argument called `name`."""
        if self.chance(self.odd * 0.25):
            return f"NULL::{kind}"
        if kind.endswith("[]"):
            return self.array(kind[:-2], "entity" if name == "entities" else name.removesuffix("s"))
        maker = getattr(self, "make_" + kind.replace(" ", "_"), None)
        if maker is None:
            raise NotImplementedError(f"tests/t/fuzzing.py makes no values of type {kind}")
        return f"{maker(name)}::{kind}"

    def array(self, kind, name):
        """An array: usual, empty, with bounds of its own, of two dimensions, long."""
        form = self.random.randrange(6) if self.chance(self.odd) else 6
        if form == 0:
            return f"'{{}}'::{kind}[]"
        if form == 1:
            return f"array_fill({self.value(kind, name)}, ARRAY[{self.random.randint(1, 3)}, {self.random.randint(1, 3)}])"
        if form == 2:
            return f"array_fill({self.value(kind, name)}, ARRAY[{self.random.randint(1, 4)}], ARRAY[{self.random.choice([-5, 0, 2, 2147483000])}])"
        if form == 3:
            return f"array_fill({self.value(kind, name)}, ARRAY[{self.random.choice([384, 1000, 5000])}])"
        length = self.random.choice([1, 2, 3, 5, 63, 64]) if kind in ("double precision", "real", "numeric", "integer") else self.random.randint(1, 4)
        return f"ARRAY[{', '.join(self.value(kind, name) for _ in range(length))}]::{kind}[]"

    def make_integer(self, name):
        if name == "window_days" and not self.chance(self.odd):
            return self.random.choice(["2", "5", "20", "63", "63", "100", "126"])
        if name in ("partition", "partitions", "skip_entities") and not self.chance(self.odd):
            return str(self.random.randint(1, 3) + 2 * (name == "partitions") - (name == "skip_entities"))
        if not self.chance(self.odd):
            return f"({self.random.randint(1, 40)})"
        return f"({self.random.choice(INTEGERS)})"

    def make_bigint(self, name):
        return f"({self.random.choice(LONGS)})"

    def make_double_precision(self, name):
        if not self.chance(self.odd):
            return f"({self.random.uniform(1, 200)!r})"
        return quoted(self.random.choice(FLOATS))

    def make_real(self, name):
        return quoted(self.random.choice([number for number in FLOATS if not re.search(r"e(308|39|-3|-45)", number)]))

    def make_numeric(self, name):
        return quoted(self.random.choice([*FLOATS, "1e400", "-1e400", "1" * 200, "1e-400"]))

    def make_boolean(self, name):
        return self.random.choice(["true", "false"])

    def make_date(self, name):
        if name == "start_date" and not self.chance(self.odd):
            return quoted(self.random.choice(["2024-06-01", "2024-06-26", *KNOWN_DATES]))
        return quoted(self.random.choice(DATES if self.chance(self.odd) else KNOWN_DATES[:1] if self.chance(0.6) else KNOWN_DATES))

    def make_regrole(self, name):
        return quoted(self.random.choice(["pg_monitor", "fuzz_user", "0", "4294967295"]))

    def make_uuid(self, name):
        return quoted(self.random.choice(["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", f"{self.random.getrandbits(128):032x}"]))

    def make_name(self, name):
        return self.make_text(name)

    def make_regclass(self, name):
        if self.chance(0.05):
            return self.random.choice(["0", "4294967295", "1259", "2619"])
        same = [self.target] if name == "target" and self.target else MEANT.get(name) or [relation for relation in RELATIONS if name in relation]
        return quoted(self.random.choice(RELATIONS if self.chance(self.odd) or not same else same))

    def make_text(self, name):
        if name in ("model_id", "base_model_id") and not self.chance(self.odd):
            return quoted("fuzz-new" if self.registers and name == "model_id" else self.random.choice(self.models))
        if name == "joint_type" and self.joint and not self.chance(self.odd):
            return quoted(self.joint[0])
        for pattern, values in BY_NAME.items():
            if re.fullmatch(pattern, name) and not self.chance(self.odd):
                # The first ones are the likeliest to mean something.
                return quoted(self.random.choice(values[:2] if self.chance(0.5) else values))
        if self.chance(0.02):
            part = self.random.choice(["a ", "x", "\U0001f642", "e\u0301"])
            return f"repeat({quoted(part)}, {self.random.choice([1000, 100000])})"
        if self.chance(0.2):
            ranges = [(1, 126), (160, 0x2FFF)]
            letters = (chr(self.random.randint(*self.random.choice(ranges))) for _ in range(self.random.randint(1, 40)))
            return quoted("".join(letters))
        return quoted(self.random.choice(TEXTS))

    def make_bytea(self, name):
        content = bytearray(self.random.choice(self.handed.get(name) or self.bytes))
        form = self.random.randrange(6) if self.chance(self.odd * 2) else 7
        if form == 0:
            content = bytearray(self.random.randbytes(self.random.choice([1, 3, 4, 8, 124, 128, 1536])))
        elif form in (1, 2, 3) and content:
            for _ in range(self.random.randint(1, 4)):
                content[self.random.randrange(len(content))] = self.random.choice([0, 1, 127, 128, 255, self.random.randrange(256)])
        elif form == 4:
            content = content[: self.random.randint(0, len(content))]
        elif form == 5:
            content += self.random.randbytes(self.random.choice([1, 4, 8]))
        return f"'\\x{content.hex()}'"

    def make_jsonb(self, name):
        if self.chance(self.odd * 0.05):
            depth = self.random.choice([100, 1000, 3000])
            opening, closing = self.random.choice([("[", "]"), ('{"a":', "}")])
            return f"(repeat({quoted(opening)}, {depth}) || '1' || repeat({quoted(closing)}, {depth}))"
        if name in ("scope", "filter", "entity_scope") and not self.chance(self.odd):
            return quoted(self.random.choice(SCOPES))
        if name in ("spec", "branches", "source") or self.chance(0.3):
            kind = {"spec": dict, "branches": list}.get(name)
            fit = [spec for spec in self.specs if kind is None or isinstance(spec, kind)]
            return quoted(json.dumps(self.mutated(self.random.choice(fit or self.specs))))
        return quoted(json.dumps(self.document(3)).replace(" 1.5", " 1e400"))

    def document(self, depth):
        """A small JSON value with keys that mean something to some function."""
        form = self.random.randrange(8 if depth else 5)
        keys = ["entity_id", "issuer_id", "region", "entity_type", "as_of", "inserted", "failed", "failures", "business_description"]
        if form == 0:
            return None
        if form == 1:
            return self.random.choice(TEXTS + ["X0001", "I", "X"])
        if form == 2:
            return self.random.choice([0, -1, 1.5, 1e308, 2**31, 2**63, 10**30, True, False])
        if form in (3, 4):
            return {}
        if form == 5:
            return [self.document(depth - 1) for _ in range(self.random.randint(0, 3))]
        return {self.random.choice(keys): self.document(depth - 1) for _ in range(self.random.randint(1, 3))}

    def mutated(self, document):
        """The document with one place changed, dropped, doubled or retyped, most of the time."""
        document = json.loads(json.dumps(document))
        for _ in range(self.random.choice([0, 1, 1, 2])):
            holder, keys = document, []
            while isinstance(holder, (dict, list)) and holder:
                key = self.random.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
                keys.append((holder, key))
                holder = holder[key]
            if not keys:
                return self.document(2)
            holder, key = self.random.choice(keys)
            form = self.random.randrange(4)
            if form == 0:
                del holder[key]
            elif form == 1 and isinstance(holder, list):
                holder.append(holder[key])
            elif form == 2 and isinstance(holder[key], (int, float)):
                holder[key] = self.random.choice([0, -1, 0.5, 1e308, 1e-308, 2**31, 2**64, 65536, None])
            else:
                holder[key] = self.document(1)
        return document
