"""Text functions and text models: what they answer, what they refuse, and in which words."""

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import psycopg
import pytest

MODEL = "all-MiniLM-L6-v2"


def one(session, query, *arguments):
    return session.execute(query, arguments).fetchone()[0]


def refused(session, query, *arguments):
    """The error of a query that must fail, with detail and hint where there are any."""
    with pytest.raises(psycopg.Error) as error:
        session.execute(query, arguments)
    assert error.value.sqlstate != "XX000", error.value
    return error.value


@pytest.mark.parametrize(
    ("structured", "document"),
    [
        (None, None),
        ("{}", None),
        ("[]", None),
        ('"business_description"', None),
        ("3", None),
        ("null", None),
        ('{"business_description": null, "risk_summary": ["x"], "recent_events_summary": {"a": 1}}', None),
        ('{"business_description": " \\u3000 ", "risk_summary": "\\t"}', None),
        ('{"recent_events_summary": "c", "risk_summary": "b", "business_description": "a", "x": "y"}', "a\n\nb\n\nc"),
        ('{"business_description": "\\u001f a \\n b \\u2028", "risk_summary": 5}', "a \n b"),
        ('{"risk_summary": "\\u200b"}', "\u200b"),
    ],
)
def test_documents(module_db, structured, document):
    assert one(module_db, "SELECT text_profile_document(%s)", structured) == document
    if document is None:
        assert one(module_db, "SELECT text_profile_embed(%s::jsonb)", structured) is None
    else:
        query = "SELECT text_profile_embed(%s::jsonb) = text_profile_embed(%s::text)"
        assert one(module_db, query, structured, "  " + document + "\n") is True


def test_odd_texts_have_vectors(module_db):
    odd = ["", " ", "\t\n", "\x01\x02", "北京市", "🚀📈", "שלום عليكم", "\u202eabc", "\ufeff", "e\u0301", "[CLS] [PAD]", "a" * 5000]
    vectors = one(module_db, "SELECT text_embed(%s)", odd)
    assert [len(vector) for vector in vectors] == [1536] * len(odd)
    norms = module_db.execute("SELECT l2_norm(v) FROM unnest(%s::bytea[]) v", [vectors]).fetchall()
    assert all(abs(norm - 1) < 1e-6 for (norm,) in norms)
    assert vectors[0] == vectors[1] == vectors[2], "blank texts are all the empty text"


def test_nulls_and_shapes(module_db):
    assert one(module_db, "SELECT text_embed(NULL)") is None
    assert one(module_db, "SELECT text_embed('{}')") == []
    vectors = one(module_db, "SELECT text_embed(ARRAY[NULL, 'a', NULL, 'b'])")
    assert [vector is None for vector in vectors] == [True, False, True, False]
    assert one(module_db, "SELECT text_embed('[5:6]={a,b}')") == [vectors[1], vectors[3]]
    assert refused(module_db, "SELECT text_embed('{{a},{b}}')").sqlstate == "2202E"
    for blank in ("", "  ", "\u3000\n", None):
        assert one(module_db, "SELECT text_profile_embed(%s::text)", blank) is None
    assert refused(module_db, "SELECT text_profile_embed('a'::text, NULL)").sqlstate == "22004"
    assert refused(module_db, "SELECT text_embed('{a}', 'text-profile-v2')").sqlstate == "42704"
    assert refused(module_db, "SELECT text_token_count('a', 'numeric-simple-v1')").sqlstate == "42809"
    assert refused(module_db, "SELECT text_profile_document('{\"risk_summary\": \"\\ud800\"}')").sqlstate == "22P02"


def test_token_counts(module_db):
    assert one(module_db, "SELECT text_token_count('')") == 2
    assert one(module_db, "SELECT text_token_count('hello world')") == 4
    assert one(module_db, "SELECT text_token_count(repeat('risk ', 1000))") == 1002
    assert one(module_db, "SELECT text_token_count(NULL)") is None


def test_long_documents(module_db):
    short = one(module_db, "SELECT text_profile_embed(repeat('credit risk ', 300))")
    for repeats in (100_000, 8_000_000):
        assert one(module_db, "SELECT text_profile_embed(repeat('credit risk ', %s))", repeats) == short
    assert len(one(module_db, "SELECT text_profile_embed(repeat('x', 100000000))")) == 1536
    assert len(one(module_db, "SELECT text_profile_embed(repeat(U&'\\0301', 1000000))")) == 1536
    assert one(module_db, "SELECT text_profile_embed(jsonb_build_object('risk_summary', repeat('credit risk ', 90000)))") == short


def test_settings_have_bounds_and_owners(db, connect):
    one(db, "SELECT embed_version()")
    assert one(db, "SELECT string_agg(name || ' ' || setting || coalesce(unit, '') || ' ' || context, ', ' ORDER BY name) "
                   "FROM pg_settings WHERE name LIKE 'prometheus_embed.%%'") == (
        "prometheus_embed.batch_tokens 512 user, prometheus_embed.dynamic_batching on user, prometheus_embed.intra_op_threads 1 superuser, "
        "prometheus_embed.model_directory $sharedir/prometheus_embed/models superuser, "
        "prometheus_embed.model_memory_limit 1024MB superuser, "
        "prometheus_embed.onnxruntime_library $libdir/prometheus_embed/libonnxruntime.so.1.28.0 superuser, "
        "prometheus_embed.preload_models  superuser"
    )
    for setting in ("batch_tokens = 15", "batch_tokens = 8193", "intra_op_threads = 0", "intra_op_threads = 65"):
        assert refused(db, f"SET prometheus_embed.{setting}").sqlstate == "22023"
    assert refused(db, "SET prometheus_embed.modeldirectory = 'x'").sqlstate == "42602"
    db.execute("DROP ROLE IF EXISTS text_low; CREATE ROLE text_low LOGIN")
    low = connect(db, user="text_low")
    one(low, "SELECT embed_version()")
    for setting in ("model_directory = '/'", "onnxruntime_library = '/x'", "intra_op_threads = 2", "model_memory_limit = 2",
                    "preload_models = 'text-profile-v1'"):
        assert refused(low, f"SET prometheus_embed.{setting}").sqlstate == "42501"
    assert refused(low, "SHOW prometheus_embed.model_directory").sqlstate == "42501"
    assert len(one(low, "SELECT text_profile_embed('anyone may embed'::text)")) == 1536
    for call in ("register_text_model('x', 'y')", "embed_check_models()"):
        assert refused(low, f"SELECT {call}").sqlstate == "42501"
    low.close()
    db.execute("DROP ROLE text_low")


def test_a_missing_or_wrong_library(db):
    for library, code, words in (
        ("", "55000", "no ONNX Runtime library is configured"),
        ("relative.so", "58P01", "absolute path"),
        ("/nowhere/lib.so", "58P01", '"lib.so" is not there'),
        ("/etc/passwd", "55000", '"passwd" cannot be used'),
        ("$libdir/nothing.so", "58P01", "does not exist"),
        ("$libdir/prometheus_embed.so", "55000", "OrtGetApiBase"),
    ):
        db.execute(f"SET prometheus_embed.onnxruntime_library = '{library}'")
        for attempt in range(2):
            error = refused(db, "SELECT text_profile_embed('a'::text)")
            assert (error.sqlstate, words in error.diag.message_primary) == (code, True), error
            assert error.diag.message_hint and "/etc/" not in error.diag.message_primary
        assert one(db, "SELECT cosine_sim('\\x0000803f', '\\x0000803f')") == 1, "the rest works without it"
    db.execute("RESET prometheus_embed.onnxruntime_library")
    assert len(one(db, "SELECT text_profile_embed('a'::text)")) == 1536
    db.execute("SET prometheus_embed.onnxruntime_library = '$libdir/other.so'")
    assert refused(db, "SELECT text_profile_embed('a'::text)").sqlstate == "58P01"


@pytest.fixture
def models(cluster):
    """A directory for models with a copy of the published one in it; its files may be changed."""
    share = subprocess.run([cluster.bindir / "pg_config", "--sharedir"], capture_output=True, text=True, check=True)
    source = Path(share.stdout.strip()) / "prometheus_embed" / "models" / MODEL
    root = cluster.data.parent / "models"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(source, root / MODEL)
    (root / MODEL / "manifest.seal").unlink(missing_ok=True)
    os.chmod(root, 0o755)
    yield root
    shutil.rmtree(root)


def forge(directory, **changes):
    """Makes the manifest agree with the files, as somebody would who forges both."""
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest.update(changes)
    for file in manifest["files"]:
        path = directory / file["name"]
        file["bytes"] = path.stat().st_size
        file["sha256"] = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout[:64]
    (directory / "manifest.json").write_text(json.dumps(manifest))


def test_registering_a_model(db, connect, models):
    db.execute(f"SET prometheus_embed.model_directory = '{models}'")
    assert one(db, "SELECT register_text_model('my-minilm', %s, 'ours', max_tokens => 128)", MODEL) == "my-minilm"
    row = db.execute("SELECT modality, dim, spec ->> 'max_tokens', jsonb_array_length(spec -> 'files'), builtin "
                     "FROM embed_models WHERE model_id = 'my-minilm'").fetchone()
    assert row == ("text", 384, "128", 4, False)
    same = "SELECT text_embed(ARRAY['a b c'], 'my-minilm') = text_embed(ARRAY['a b c'])"
    assert one(db, same) is True
    assert one(db, "SELECT text_embed(ARRAY[repeat('a ', 400)], 'my-minilm') = text_embed(ARRAY[repeat('a ', 400)])") is False
    assert db.execute("SELECT model_id, texts > 0, bytes > 100000000, load_ms > 0, files_read FROM embed_loaded_models ORDER BY 1").fetchall() == [
        ("my-minilm", True, True, True, 4), ("text-profile-v1", True, True, True, 4)]
    assert refused(db, "SELECT register_text_model('my-minilm', %s)", MODEL).sqlstate == "42710"
    assert refused(db, "UPDATE embed_models SET spec = '{}' WHERE model_id = 'my-minilm'").sqlstate == "55000"
    assert [row[:2] for row in db.execute("SELECT * FROM embed_check_models()")] == [("my-minilm", True), ("text-profile-v1", True)]

    # A limit that holds one model: the least recently used goes.
    db.execute("SET prometheus_embed.model_memory_limit = '200MB'")
    assert one(db, "SELECT length(text_profile_embed('a'::text, 'my-minilm'))") == 1536
    assert one(db, "SELECT length(text_profile_embed('a'::text))") == 1536
    assert one(db, "SELECT array_agg(model_id) FROM embed_loaded_models") == ["text-profile-v1"]
    db.execute("SET prometheus_embed.model_memory_limit = '100MB'")
    assert refused(db, "SELECT text_profile_embed('a'::text)").sqlstate == "53200"
    db.execute("RESET prometheus_embed.model_memory_limit")
    assert one(db, "SELECT unload_text_models()") >= 0 and one(db, "SELECT count(*) FROM embed_loaded_models") == 0

    # A member of pg_read_server_files may do the same.
    db.execute("DROP ROLE IF EXISTS text_files; CREATE ROLE text_files LOGIN; GRANT pg_read_server_files TO text_files;"
               f"ALTER ROLE text_files SET prometheus_embed.model_directory = '{models}'")
    low = connect(db, user="text_files")
    assert one(low, "SELECT register_text_model('theirs', %s)", MODEL) == "theirs"
    low.close()
    db.execute("DROP OWNED BY text_files; DROP ROLE text_files")
    db.execute("SELECT drop_embedding_model('theirs')")
    assert refused(db, "SELECT text_embed('{a}', 'theirs')").sqlstate == "42704"


def test_directories_outside_are_refused(db, models):
    db.execute(f"SET prometheus_embed.model_directory = '{models}'")
    (models / "out").symlink_to("/etc")
    for directory, code in (
        ("/etc", "42501"), ("../models/" + MODEL, "42501"), ("out", "42501"), (".", "42501"), (str(models), "42501"),
        ("", "22023"), ("nowhere", "22023"), ("a\nb", "22023"), ("%2e%2e", "22023"), ("x" * 5000, "22023"),
    ):
        assert refused(db, "SELECT register_text_model('m', %s)", directory).sqlstate == code, directory
    for model_id, code in ((None, "22004"), ("", "42602"), ("a b", "42602"), ("x" * 64, "42602")):
        assert refused(db, "SELECT register_text_model(%s, %s)", model_id, MODEL).sqlstate == code
    for options, code in (("max_tokens => 2", "22023"), ("max_tokens => 513", "22023"), ("pooling => 'max'", "22023"),
                          ("pooling => 'none'", "0A000"), ("allow_dynamic_quantisation => NULL", "22004")):
        assert refused(db, f"SELECT register_text_model('m', '{MODEL}', {options})").sqlstate == code, options


def test_damaged_and_foreign_files_are_refused(db, models):
    directory = models / MODEL
    db.execute(f"SET prometheus_embed.model_directory = '{models}'")
    original = {name: (directory / name).read_bytes() for name in ("manifest.json", "model.onnx", "tokenizer.json")}

    def fails(code):
        error = refused(db, "SELECT register_text_model('m', %s)", MODEL)
        assert error.sqlstate == code, error
        db.execute("SELECT unload_text_models()")
        error = refused(db, "SELECT text_profile_embed('a'::text)")
        assert error.sqlstate == code, error
        assert str(models) not in str(error)
        checked = db.execute("SELECT ok, detail FROM embed_check_models()").fetchall()
        assert [row[0] for row in checked] == [False] and checked[0][1]
        for name, content in original.items():
            (directory / name).unlink(missing_ok=True)
            (directory / name).write_bytes(content)

    (directory / "tokenizer.json").write_bytes(original["tokenizer.json"].replace(b"hello", b"hallo"))
    fails("XX001")
    (directory / "tokenizer.json").unlink()
    fails("58P01")
    (directory / "model.onnx").write_bytes(original["model.onnx"][:5000])
    fails("XX001")
    (directory / "model.onnx").write_bytes(original["model.onnx"][:5000])
    forge(directory)
    fails("XX001")
    (directory / "model.onnx").write_bytes(os.urandom(4000))
    forge(directory)
    fails("XX001")
    (directory / "model.onnx").unlink()
    (directory / "model.onnx").symlink_to("/dev/zero")
    fails("42501")
    os.mkfifo(directory / "pipe")
    (directory / "pipe").rename(directory / "model.onnx")
    fails("42501")
    os.chmod(directory / "model.onnx", stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH)
    fails("42501")
    (directory / "manifest.json").write_text("{")
    fails("F0000")
    forge(directory, dim=768)
    assert refused(db, "SELECT register_text_model('m', %s)", MODEL).sqlstate == "0A000"
    (directory / "manifest.json").write_bytes(original["manifest.json"])

    # A tokenizer of a larger vocabulary, with a manifest that vouches for it.
    tokenizer = json.loads(original["tokenizer.json"])
    tokenizer["model"]["vocab"]["prometheus"] = 40000
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    forge(directory)
    fails("XX001")
    db.execute("SELECT unload_text_models()")
    assert one(db, "SELECT length(text_profile_embed('a'::text))") == 1536, "and all is well with the files back"


def test_hostile_graphs_are_refused(db, models):
    onnx = pytest.importorskip("onnx")
    directory = models / MODEL
    db.execute(f"SET prometheus_embed.model_directory = '{models}'")

    def model(*nodes, output="last_hidden_state", domain=""):
        helper = onnx.helper
        ids = [helper.make_tensor_value_info(name, 7, ["b", "t"]) for name in ("input_ids", "attention_mask")]
        out = helper.make_tensor_value_info(output, 1, ["b", "t", 384])
        made = helper.make_model(helper.make_graph(list(nodes), "g", ids, [out]), ir_version=8)
        made.opset_import[0].version = 17
        if domain:
            made.opset_import.append(helper.make_opsetid(domain, 1))
        return made.SerializeToString()

    node = onnx.helper.make_node
    cast = node("Cast", ["input_ids"], ["x"], to=1)
    body = onnx.helper.make_graph([], "body", [], [])
    for graph, words in (
        (model(cast, node("Loop", ["", "", "x"], ["last_hidden_state"], body=body)), "graph of its own"),
        (model(cast, node("Evil", ["x"], ["last_hidden_state"], domain="my.ops"), domain="my.ops"), "my.ops"),
        (model(cast, node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])), "dynamic quantisation"),
    ):
        for name in ("model.onnx", "model.plain.onnx"):
            (directory / name).write_bytes(graph)
        forge(directory)
        error = refused(db, "SELECT register_text_model('m', %s)", MODEL)
        assert (error.sqlstate, words in str(error)) == ("0A000", True), error
    for name in ("model.onnx", "model.plain.onnx"):
        (directory / name).write_bytes(model(cast, node("Relu", ["x"], ["last_hidden_state"])))
    forge(directory)
    assert refused(db, "SELECT register_text_model('m', %s)", MODEL).sqlstate in ("38000", "0A000", "XX001")
    # Sum over 2^40 values: refused by the runtime, not by the death of the server.
    shape = onnx.helper.make_tensor("shape", 7, [3], [1 << 20, 1 << 20, 384])
    huge = [node("Constant", [], ["shape"], value=shape), node("ConstantOfShape", ["shape"], ["last_hidden_state"])]
    for name in ("model.onnx", "model.plain.onnx"):
        (directory / name).write_bytes(model(*huge))
    forge(directory)
    assert refused(db, "SELECT register_text_model('m', %s)", MODEL).sqlstate in ("38000", "XX001", "0A000")
    assert one(db, "SELECT 1") == 1
