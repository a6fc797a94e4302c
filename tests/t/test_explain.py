"""What a cosine is made of, where windows have gone through a projection: by feature and block of days, summing to it."""

import itertools
import json
import time

import numpy as np
import psycopg
import pytest
import safetensors.numpy
from numeric_data import fill

DAY, WINDOW, DIM = "2024-06-28", 40, 12
RNG = np.random.default_rng(11)
FLAT = 2 * WINDOW
MATRIX = RNG.normal(size=(DIM, FLAT)).astype("float32")
BIAS = RNG.normal(size=DIM).astype("float32")
WEIGHTS = {"weight": MATRIX, "bias": BIAS, "a.weight": MATRIX, "a.bias": BIAS, "b.weight": RNG.normal(size=(DIM, DIM)).astype("float32")}
FEATURES = {"log_return", "realised_volatility 5"}
BLOCKS = {"newest 21 days", "days 22-63"}


def spec(projection, layout="newest_first", dim=DIM, normalise="l2"):
    return json.dumps({
        "encoder": "pipeline", "price_column": "adjusted_close",
        "window": {"min_fill": 0.5, "look_back": 2, "short_history": "mask", "max_gap_days": 10, "max_age_days": 10},
        "channels": [{"feature": "log_return", "standardise": {"kind": "rms"}},
                     {"feature": "realised_volatility", "days": 5, "standardise": {"kind": "zscore"}, "weight": 0.7}],
        "layout": layout, "projection": projection, "dim": dim, "normalise": normalise})


@pytest.fixture(scope="module")
def market(module_db):
    fill(module_db, instruments=12)
    return module_db


@pytest.fixture
def prices(market):
    with market.transaction(force_rollback=True):
        yield market


def embed(db, name, given, weights=None):
    db.execute("SELECT register_numeric_model(%s, %s, weights => %s)", (name, given, safetensors.numpy.save(weights) if weights else None))
    db.execute("SELECT count(*) FROM backfill_numeric(%s::date, %s, 'M', model_id => %s)", (DAY, WINDOW, name))


def vector(db, name, entity):
    return np.frombuffer(db.execute("SELECT vector FROM numeric_window_embeddings WHERE model_id = %s AND entity_id = %s", (name, entity)).fetchone()[0],
                         "<f4").astype("float64")


def cosine(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def parts(db, name, a="X0001", b="X0002", window=WINDOW):
    rows = db.execute("SELECT feature, block, contribution FROM explain_numeric_similarity(%s, %s, %s, %s, %s)", (name, a, b, DAY, window)).fetchall()
    return {(feature, block): part for feature, block, part in rows}


@pytest.mark.parametrize("layout", ["newest_first", "day_major", "feature_major"])
@pytest.mark.parametrize("projection", [
    {"kind": "orthogonal", "seed": 3}, {"kind": "gaussian", "seed": 3}, {"kind": "truncate"}, {"kind": "matrix"},
    {"kind": "matrix", "bias": "bias"}, {"kind": "mlp", "layers": ["a"], "activation": "relu"}], ids=lambda p: "-".join(map(str, p.values())))
def test_linear_projections_are_split_by_features_and_days(prices, projection, layout):
    embed(prices, "m", spec(projection, layout), WEIGHTS if projection["kind"] in ("matrix", "mlp") else None)
    a, b = vector(prices, "m", "X0001"), vector(prices, "m", "X0002")
    found = parts(prices, "m")
    assert abs(sum(found.values()) - cosine(a, b)) < 1e-9
    named = {name for name in found if name[0] != "bias"}
    assert {feature for feature, _ in named} <= FEATURES and {block for _, block in named} <= BLOCKS
    if projection["kind"] != "truncate":
        assert {feature for feature, _ in named} == FEATURES and {block for _, block in named} == BLOCKS
    assert (("bias", "all") in found) == ("bias" in projection or projection["kind"] == "mlp")
    # Either order says the same.
    turned = parts(prices, "m", "X0002", "X0001")
    assert turned.keys() == found.keys() and all(abs(turned[name] - part) < 1e-9 for name, part in found.items())


def test_parts_are_those_of_the_formula(prices):
    """x P' P y, made symmetric, with the bias as a part of its own, for unit vectors."""
    embed(prices, "m", spec({"kind": "matrix", "bias": "bias"}), WEIGHTS)
    embed(prices, "x", spec({"kind": "pad"}, dim=FLAT, normalise="none"))
    xa, xb = vector(prices, "x", "X0001"), vector(prices, "x", "X0002")
    ya, yb = MATRIX @ xa + BIAS, MATRIX @ xb + BIAS
    size = np.linalg.norm(ya) * np.linalg.norm(yb)
    by_component = (xa * (MATRIX.T @ yb) + xb * (MATRIX.T @ ya)) / 2 / size
    expected = {("bias", "all"): (BIAS @ ya + BIAS @ yb) / 2 / size}
    for i, part in enumerate(by_component):
        name = ("log_return", "realised_volatility 5")[i % 2], "newest 21 days" if i // 2 < 21 else "days 22-63"
        expected[name] = expected.get(name, 0) + part
    found = parts(prices, "m")
    assert found.keys() == expected.keys() and all(abs(found[name] - part) < 1e-5 for name, part in expected.items())


def shapley(names, groups, worth):
    """By the definition: what each name adds to `worth`, over all orders of joining."""
    values, orders = dict.fromkeys(names, 0.0), list(itertools.permutations(names))
    for order in orders:
        there = np.zeros(len(groups), bool)
        before = worth(there)
        for name in order:
            there |= np.array([group == name for group in groups])
            values[name] += (worth(there) - before) / len(orders)
            before = worth(there)
    return values


def network(x):
    """Two layers; numbers small enough that tanh bends and does not saturate."""
    return WEIGHTS["b.weight"].astype(float) @ np.tanh(0.1 * (MATRIX.astype(float) @ x) + BIAS)


# Instruments that are not all alike.
NOISE = "UPDATE prices_daily SET adjusted_close = adjusted_close * (1 + 0.05 * sin(hashtext(instrument_id || trade_date)))"
NETWORK = {"kind": "mlp", "layers": ["a", "b"], "activation": "tanh"}
BENT = {**WEIGHTS, "a.weight": MATRIX * np.float32(0.1)}


@pytest.mark.parametrize("layout", ["newest_first", "feature_major"])
def test_networks_are_split_by_what_each_feature_and_block_adds(prices, layout):
    """Shapley values of the cosine, of the groups of components; what is not there is 0, and with nothing there the bias is all."""
    prices.execute(NOISE)
    embed(prices, "m", spec(NETWORK, layout), BENT)
    embed(prices, "x", spec({"kind": "pad"}, layout, dim=FLAT, normalise="none"))
    xa, xb = vector(prices, "x", "X0001"), vector(prices, "x", "X0002")
    places = [(i % 2, i // 2) if layout == "newest_first" else (i // WINDOW, i % WINDOW) for i in range(FLAT)]
    groups = [(("log_return", "realised_volatility 5")[channel], "newest 21 days" if lag < 21 else "days 22-63") for channel, lag in places]
    expected = shapley(sorted(set(groups)), groups, lambda there: cosine(network(xa * there), network(xb * there)))
    found = parts(prices, "m")
    assert abs(found.pop(("baseline", "all")) - 1) < 1e-6
    assert found.keys() == expected.keys() and all(abs(found[name] - part) < 1e-5 for name, part in expected.items())
    assert max(abs(part) for part in expected.values()) > 0.05
    whole = cosine(vector(prices, "m", "X0001"), vector(prices, "m", "X0002"))
    assert abs(1 + sum(found.values()) - whole) < 1e-5
    assert abs(sum(parts(prices, "m").values()) - whole) < 1e-9
    turned = parts(prices, "m", "X0002", "X0001")
    assert all(abs(turned[name] - part) < 1e-9 for name, part in found.items())


def test_a_network_without_a_bias_has_no_baseline(prices):
    embed(prices, "m", spec(NETWORK), {name: weight for name, weight in BENT.items() if "bias" not in name})
    found = parts(prices, "m")
    assert len(found) == 4 and ("baseline", "all") not in found
    assert abs(sum(found.values()) - cosine(vector(prices, "m", "X0001"), vector(prices, "m", "X0002"))) < 1e-9


def many(channels=8, window=130):
    """A spec of more groups than are tried in every combination."""
    given = json.loads(spec(NETWORK))
    given["channels"] = [{"feature": "realised_volatility", "days": days, "standardise": {"kind": "zscore"}} for days in range(5, 5 + channels)]
    given["window"]["every"] = 2
    weights = {"a.weight": RNG.normal(size=(DIM, channels * -(-window // 2))).astype("float32") / 20, "b.weight": WEIGHTS["b.weight"]}
    return json.dumps(given), weights


def test_many_groups_are_tried_in_the_same_orders_each_time(prices):
    given, weights = many()
    prices.execute("SELECT register_numeric_model('m', %s, weights => %s)", (given, safetensors.numpy.save(weights)))
    prices.execute("SELECT count(*) FROM backfill_numeric(%s::date, 130, 'M', model_id => 'm')", (DAY,))
    found = parts(prices, "m", window=130)
    assert len(found) == 32 and {block for _, block in found} == {"newest 21 days", "days 22-63", "days 64-126", "days 127-252"}
    assert abs(sum(found.values()) - cosine(vector(prices, "m", "X0001"), vector(prices, "m", "X0002"))) < 1e-9
    assert parts(prices, "m", window=130) == found


def test_a_network_that_takes_long_to_explain_can_be_cancelled(prices):
    given, weights = many()
    weights["a.weight"] = np.repeat(weights["a.weight"], 600, axis=0)
    weights["b.weight"] = RNG.normal(size=(DIM, 600 * DIM)).astype("float32")
    prices.execute("SELECT register_numeric_model('m', %s, weights => %s)", (given, safetensors.numpy.save(weights)))
    prices.execute("SELECT count(*) FROM backfill_numeric(%s::date, 130, instrument_ids => '{X0001,X0002}', model_id => 'm')", (DAY,))
    prices.execute("SET LOCAL statement_timeout = '500ms'")
    began = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled), prices.transaction():
        parts(prices, "m", window=130)
    assert time.monotonic() - began < 3


def test_what_cannot_be_read_again_stays_whole(prices):
    embed(prices, "m", spec(NETWORK), BENT)
    assert len(parts(prices, "m")) == 5
    embed(prices, "p", spec({"kind": "orthogonal", "seed": 3}))
    assert len(parts(prices, "p")) == 4
    prices.execute("UPDATE prices_daily SET adjusted_close = adjusted_close * 2 WHERE instrument_id = 'X0002' AND trade_date = '2024-06-20'")
    assert parts(prices, "p").keys() == {("all", "all")}
    whole = parts(prices, "m")
    assert whole.keys() == {("all", "all")} and abs(whole["all", "all"] - cosine(vector(prices, "m", "X0001"), vector(prices, "m", "X0002"))) < 1e-9


def test_factors_are_split_by_factor_and_days(prices):
    prices.execute(NOISE)
    prices.execute("SELECT * FROM fit_embedding_model('f', 'num-regime-core-v2', %s, 63, 4)", (DAY,))
    prices.execute("SELECT count(*) FROM backfill_numeric(%s::date, 63, 'M', model_id => 'f')", (DAY,))
    found = parts(prices, "f", window=63)
    assert {feature for feature, _ in found} == {f"factor {n}" for n in range(1, 5)} and {block for _, block in found} == BLOCKS
    a, b = vector(prices, "f", "X0001"), vector(prices, "f", "X0002")
    assert abs(sum(found.values()) - cosine(a, b)) < 1e-9
    by_factor = [sum(part for (feature, _), part in found.items() if feature == f"factor {n}") for n in range(1, 5)]
    assert np.abs(np.array(by_factor) - (a * b)[:4] / np.sqrt((a @ a) * (b @ b))).max() < 1e-5


def joint(db, a="X0001", b="X0002"):
    rows = db.execute("SELECT branch, feature, block, contribution FROM explain_similarity('ALIKE', %s, %s, %s, 'alike')", (a, b, DAY)).fetchall()
    score, = db.execute("SELECT cosine_sim(x.vector, y.vector) FROM joint_embeddings x, joint_embeddings y WHERE x.entity_scope ->> 'entity_id' = %s"
                        " AND y.entity_scope ->> 'entity_id' = %s AND x.model_id = 'alike' AND y.model_id = 'alike'", (a, b)).fetchone()
    assert abs(sum(part for *_, part in rows) - score) < 1e-9
    return {(branch, feature, block): part for branch, feature, block, part in rows}


SPACE = """SELECT register_joint_space('ALIKE', 'alike', 'INSTRUMENT', '[
    {"name": "moves", "required": true, "dims": 10, "seed": 2, "table": "numeric_window_embeddings", "entity_type": "INSTRUMENT", "model_id": "m"},
    {"name": "calm", "required": true, "dims": 8, "table": "numeric_window_embeddings", "entity_type": "INSTRUMENT", "model_id": "m"}]',
  fusion => 'concat', entities => 'instruments', scope_keys => '{entity_id}')"""


@pytest.mark.parametrize("projection", [{"kind": "orthogonal", "seed": 3}, NETWORK], ids=["matrix", "network"])
def test_a_branch_that_is_projected_twice_is_split_by_what_its_window_is_made_of(prices, projection):
    embed(prices, "m", spec(projection), {name: w for name, w in BENT.items() if "bias" not in name} if projection is NETWORK else None)
    prices.execute(SPACE)
    prices.execute("SELECT count(*) FROM backfill_joint('ALIKE', %s, market_id => 'M')", (DAY,))
    for branch in ("moves", "calm"):
        assert {(feature, block) for name, feature, block in joint(prices) if name == branch} == {(f, b) for f in FEATURES for b in BLOCKS}


def test_other_models_of_branches_name_the_features(prices):
    """Under branch_models the parts are those of the models that made the branches, not those of the space."""
    embed(prices, "m", spec({"kind": "orthogonal", "seed": 3}))
    other = json.loads(spec({"kind": "pad"}, dim=FLAT))
    other["channels"][0], other["channels"][1] = {"feature": "drawdown", "days": 20}, {"feature": "log_volume", "standardise": {"kind": "zscore"}}
    embed(prices, "other", json.dumps(other))
    prices.execute(SPACE)
    prices.execute("SELECT count(*) FROM backfill_joint('ALIKE', %s, market_id => 'M', branch_models => '{\"calm\": \"other\"}')", (DAY,))
    features = {branch: {feature for name, feature, _ in joint(prices) if name == branch} for branch in ("moves", "calm")}
    assert features == {"moves": FEATURES, "calm": {"drawdown 20", "log_volume"}}
    # One of the two made the other way: nothing in common but the sum.
    prices.execute("SELECT count(*) FROM backfill_joint('ALIKE', %s, entity_ids => '{X0002}')", (DAY,))
    assert {feature for name, feature, _ in joint(prices) if name == "calm"} == {"all"}
