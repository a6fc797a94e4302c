"""Projections that a user gives: matrices and networks as safetensors, graphs by ONNX Runtime; and what hostile files
come to."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import psycopg
import pytest
import safetensors.numpy
from numeric_data import fill
from onnx import TensorProto, helper

DAY, WINDOW, DIM = "2024-06-28", 40, 8
RNG = np.random.default_rng(5)
MATRIX = RNG.normal(size=(DIM, WINDOW)).astype("float32")
MLP = {
    "0.weight": RNG.normal(size=(16, WINDOW)).astype("float64"),
    "0.bias": RNG.normal(size=16).astype("float64"),
    "2.weight": RNG.normal(size=(DIM, 16)).astype("float32"),
}


def spec(projection, dim=DIM):
    return json.dumps({
        "encoder": "pipeline", "price_column": "adjusted_close",
        "window": {"min_fill": 0.5, "look_back": 2, "short_history": "mask", "max_gap_days": 10, "max_age_days": 10},
        "channels": [{"feature": "log_return", "standardise": {"kind": "rms"}}],
        "layout": "newest_first", "projection": projection, "dim": dim, "normalise": "none"})


def graph(nodes, dims_in=(1, WINDOW), dims_out=(1, DIM), kind=TensorProto.FLOAT, weights=(), inputs=("x",)):
    """An ONNX file of opset 17."""
    made = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, kind, dims_in) for name in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, dims_out)],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


PROJECTION_GRAPH = graph([helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Tanh", ["a"], ["y"])],
                         weights=[("w", MATRIX.T.copy())])


@pytest.fixture(scope="module")
def folder(cluster):
    """A directory for models that the server can read."""
    root = cluster.data.parent / "projections"
    shutil.rmtree(root, ignore_errors=True)
    (root / "mine").mkdir(parents=True)
    os.chmod(root, 0o755)
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def prices(db, folder):
    """A small market, and a session whose models are in `folder`."""
    fill(db)
    db.execute(f"SET prometheus_embed.model_directory = '{folder}'")
    return db


@pytest.fixture
def nothing(module_db, folder):
    """A session whose models are in `folder`, for what registers nothing."""
    module_db.execute(f"SET prometheus_embed.model_directory = '{folder}'")
    return module_db


def put(folder, name, content):
    path = folder / "mine" / name
    path.write_bytes(content)
    os.chmod(path, 0o644)
    return f"mine/{name}"


def register(db, name, projection, weights=None, dim=DIM):
    db.execute("SELECT register_numeric_model(%s, %s, weights => %s)", (name, spec(projection, dim), weights))


def vectors(db, name, window=WINDOW):
    db.execute("SELECT count(*) FROM backfill_numeric(%s::date, %s, 'M', model_id => %s)", (DAY, window, name))
    rows = db.execute(
        "SELECT vector_to_array(vector) FROM numeric_window_embeddings WHERE model_id = %s ORDER BY entity_id", (name,))
    return np.array([row[0] for row in rows.fetchall()])


def refused(db, statement, *arguments):
    with pytest.raises(psycopg.Error) as caught:
        db.execute(statement, arguments)
    return caught.value


@pytest.fixture
def windows(prices):
    """The components that every projection here is given."""
    register_plain = json.loads(spec({"kind": "pad"}, WINDOW))
    prices.execute("SELECT register_numeric_model('plain', %s)", (json.dumps(register_plain),))
    return vectors(prices, "plain")


def test_a_matrix_passed_as_bytes_projects(prices, windows):
    content = safetensors.numpy.save({"weight": MATRIX, "b": np.ones(DIM, "float32")})
    register(prices, "m", {"kind": "matrix", "bias": "b"}, content)
    made = vectors(prices, "m")
    assert made.shape == (8, DIM) and np.abs(made - (windows @ MATRIX.T + 1)).max() < 1e-4
    sha256, stored = prices.execute(
        "SELECT m.sha256, p.content FROM embed_models m JOIN embed_model_parts p USING (model_id) WHERE model_id = 'm'").fetchone()
    assert sha256 == hashlib.sha256(content).hexdigest() and bytes(stored) == content
    # One instrument alone, and the look-up: the same bytes.
    looked_up, = prices.execute("SELECT vector_to_array(num_window_embed('X0001', %s::date, %s, 'm'))", (DAY, WINDOW)).fetchone()
    assert np.array_equal(np.array(looked_up), made[0])


def test_a_network_from_a_file_projects_and_lives_on_without_it(prices, folder, windows):
    name = put(folder, "mlp.safetensors", safetensors.numpy.save(MLP))
    register(prices, "n", {"kind": "mlp", "layers": ["0", "2"], "activation": "relu", "file": name})
    (folder / name).unlink()
    expected = np.maximum(windows @ MLP["0.weight"].T + MLP["0.bias"], 0) @ MLP["2.weight"].T
    assert np.abs(vectors(prices, "n") - expected).max() < 1e-3


def test_weights_are_checked_on_load(prices):
    register(prices, "m", {"kind": "matrix"}, safetensors.numpy.save({"weight": MATRIX}))
    prices.execute("ALTER TABLE embed_model_parts DISABLE TRIGGER ALL")
    prices.execute("UPDATE embed_model_parts SET content = set_byte(content, length(content) - 1, 7)")
    error = refused(prices, "SELECT count(*) FROM backfill_numeric(%s::date, %s, 'M', model_id => 'm')", DAY, WINDOW)
    assert error.sqlstate == "XX001" and 'part "projection"' in str(error)


def test_a_graph_projects_and_is_checked_on_load(prices, folder, windows, connect):
    name = put(folder, "g.onnx", PROJECTION_GRAPH)
    register(prices, "g", {"kind": "onnx", "file": name})
    assert np.abs(vectors(prices, "g") - np.tanh(windows @ MATRIX.T)).max() < 1e-4
    pinned, parts = prices.execute(
        "SELECT sha256, (SELECT count(*) FROM embed_model_parts) FROM embed_models WHERE model_id = 'g'").fetchone()
    assert (pinned, parts) == (hashlib.sha256(PROJECTION_GRAPH).hexdigest(), 0)
    # What a graph makes alike is shared out among features and days.
    a, b = (vectors(prices, "g")[i].astype(float) for i in (0, 1))
    told = prices.execute("SELECT feature, block, contribution FROM explain_numeric_similarity('g', 'X0001', 'X0002', %s, %s)", (DAY, WINDOW)).fetchall()
    assert len(told) > 1 and not {"all", "baseline"} & {feature for feature, *_ in told}
    assert abs(sum(part for *_, part in told) - a @ b / np.sqrt((a @ a) * (b @ b))) < 1e-6
    # Another session, another file in its place.
    put(folder, "g.onnx", graph([helper.make_node("MatMul", ["x", "w"], ["y"])], weights=[("w", MATRIX.T.copy())]))
    other = connect(prices)
    other.execute(f"SET prometheus_embed.model_directory = '{folder}'")
    query = "SELECT count(*) FROM backfill_numeric(%s::date, %s, 'M', model_id => 'g')"
    error = refused(other, query, DAY, WINDOW)
    assert error.sqlstate == "XX001" and "not the registered one" in str(error)
    (folder / name).unlink()
    assert refused(other, query, DAY, WINDOW).sqlstate == "58P01"


LOOP = helper.make_graph([helper.make_node("Identity", ["c"], ["d"])], "body", [], [])


@pytest.mark.parametrize("content, code, words", [
    (PROJECTION_GRAPH[: len(PROJECTION_GRAPH) // 2], "XX001", "cannot be loaded"),
    (b"", "XX001", "no graph"),
    (b"\x00" * 100, "XX001", "cannot be loaded"),
    (graph([helper.make_node("MatMul", ["x", "w"], ["y"], domain="my.ops")], weights=[("w", MATRIX.T.copy())]), "0A000", "my.ops"),
    (graph([helper.make_node("If", ["x"], ["y"], then_branch=LOOP, else_branch=LOOP)]), "0A000", "graph of its own"),
    (graph([helper.make_node("Cast", ["x"], ["y"], to=1)], kind=TensorProto.INT64), "0A000", "not a matrix of float32"),
    (graph([helper.make_node("Add", ["x", "z"], ["y"])], inputs=("x", "z")), "0A000", "2 inputs"),
    (graph([helper.make_node("MatMul", ["x", "w"], ["y"])], dims_out=(1, 5), weights=[("w", MATRIX.T[:, :5].copy())]), "22023", "gives 5"),
    (graph([helper.make_node("MatMul", ["x", "w"], ["y"])], dims_in=(7, WINDOW), dims_out=(7, DIM), weights=[("w", MATRIX.T.copy())]), "0A000", "7 rows"),
    (graph([helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Log", ["a"], ["y"])], weights=[("w", MATRIX.T.copy())]),
     "22000", "not finite"),
])
def test_hostile_graphs_are_refused(nothing, folder, content, code, words):
    name = put(folder, "g.onnx", content)
    error = refused(nothing, "SELECT register_numeric_model('g', %s)", spec({"kind": "onnx", "file": name}))
    assert error.sqlstate == code and words in str(error), error
    assert nothing.execute("SELECT count(*) FROM embed_models WHERE model_id = 'g'").fetchone() == (0,)


GOOD = safetensors.numpy.save({"weight": MATRIX})


@pytest.mark.parametrize("projection, content, code, words", [
    ({"kind": "matrix"}, GOOD[:-1], "22000", "no safetensors"),
    ({"kind": "matrix"}, b"\xff" * 64, "22000", "no safetensors"),
    ({"kind": "matrix"}, b"", "22000", "no safetensors"),
    ({"kind": "matrix", "tensor": "w"}, GOOD, "22000", 'no tensor "w" among weight'),
    ({"kind": "matrix"}, safetensors.numpy.save({"weight": MATRIX.astype("int32")}), "22000", "I32"),
    ({"kind": "matrix"}, safetensors.numpy.save({"weight": MATRIX[0]}), "22000", "two dimensions"),
    ({"kind": "matrix"}, safetensors.numpy.save({"weight": MATRIX * np.nan}), "22000", "not finite"),
    ({"kind": "matrix"}, safetensors.numpy.save({"weight": MATRIX[:5]}), "22023", "gives 5"),
    ({"kind": "matrix", "bias": "b"}, safetensors.numpy.save({"weight": MATRIX, "b": MATRIX[0]}), "22000", "40 numbers"),
    ({"kind": "matrix", "sha256": "0" * 64}, GOOD, "22023", "projection.sha256"),
    ({"kind": "matrix", "sha256": "x"}, GOOD, "22023", "64 hexadecimal"),
    ({"kind": "matrix", "file": "mine/x"}, GOOD, "22023", "beside weights"),
    ({"kind": "matrix"}, None, "22023", "must be named"),
    ({"kind": "pad"}, GOOD, "22023", "takes weights"),
    ({"kind": "mlp", "layers": [], "activation": "relu"}, GOOD, "22023", "between 1 and 16"),
    ({"kind": "mlp", "layers": ["0"], "activation": "swish"}, GOOD, "22023", "swish"),
    ({"kind": "mlp", "layers": ["2", "0"], "activation": "tanh"}, safetensors.numpy.save(MLP), "22000", "layer 2 takes"),
    ({"kind": "matrix", "file": "mine/none.safetensors"}, None, "58P01", "not there"),
    ({"kind": "matrix", "file": "../../etc/passwd"}, None, "42501", "outside"),
    ({"kind": "matrix", "file": "/etc/passwd"}, None, "42501", "outside"),
    ({"kind": "onnx", "file": "mine"}, None, "42501", "no regular file"),
    ({"kind": "onnx", "file": "mine/none.onnx"}, None, "58P01", "not there"),
])
def test_hostile_weights_are_refused(nothing, projection, content, code, words):
    error = refused(nothing, "SELECT register_numeric_model('m', %s, weights => %s)", spec(projection), content)
    assert error.sqlstate == code and words in str(error), error
    assert nothing.execute("SELECT count(*) FROM embed_models WHERE model_id = 'm'").fetchone() == (0,)


def test_files_that_others_may_write_or_links_that_leave_are_refused(nothing, folder):
    name = put(folder, "w.safetensors", GOOD)
    os.chmod(folder / name, 0o666)
    query = "SELECT register_numeric_model('m', %s)"
    assert refused(nothing, query, spec({"kind": "matrix", "file": name})).sqlstate == "42501"
    (folder / "mine" / "link").symlink_to("/etc/passwd")
    assert refused(nothing, query, spec({"kind": "matrix", "file": "mine/link"})).sqlstate == "42501"


def test_another_window_is_refused(prices):
    register(prices, "m", {"kind": "matrix"}, GOOD)
    error = refused(prices, "SELECT count(*) FROM backfill_numeric(%s::date, 63, 'M', model_id => 'm')", DAY)
    assert error.sqlstate == "22023" and "63 components, the projection takes 40" in str(error)


def test_who_may_not_read_files_may_not_register_them(prices, folder, connect):
    name = put(folder, "w.safetensors", GOOD)
    prices.execute("DROP ROLE IF EXISTS useful_low; CREATE ROLE useful_low LOGIN")
    try:
        low = connect(prices, user="useful_low")
        query = "SELECT register_numeric_model('m', %s)"
        assert refused(low, query, spec({"kind": "matrix", "file": name})).sqlstate == "42501"
        prices.execute("GRANT EXECUTE ON FUNCTION register_numeric_model TO useful_low;"
                       "GRANT INSERT ON embed_models, embed_model_parts TO useful_low")
        error = refused(low, query, spec({"kind": "matrix", "file": name}))
        assert error.sqlstate == "42501" and "model files of the server" in str(error)
        register(low, "own", {"kind": "matrix"}, GOOD)
    finally:
        prices.execute("DROP OWNED BY useful_low; DROP ROLE useful_low")


def test_a_dump_carries_the_weights(prices, cluster):
    register(prices, "m", {"kind": "matrix"}, GOOD)
    before = vectors(prices, "m")
    name = cluster.create_database(prefix="restored")
    try:
        where = ["-h", cluster.socket_dir, "-p", str(cluster.port), "-U", cluster.user]
        dump = subprocess.run([Path(cluster.bindir) / "pg_dump", *where, prices.info.dbname], capture_output=True, check=True)
        subprocess.run([Path(cluster.bindir) / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *where, "-d", name],
                       input=dump.stdout, capture_output=True, check=True)
        with cluster.connect(name) as restored:
            restored.execute("DELETE FROM numeric_window_embeddings")
            assert np.array_equal(vectors(restored, "m"), before)
    finally:
        cluster.drop_database(name)
